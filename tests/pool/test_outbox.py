"""What is kept while the other end takes nothing, and in which order it arrives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from localai_flask.errors import Overloaded
from localai_flask.generation import Delta, Prompt
from localai_flask.pool import messages, outbox
from localai_flask.pool.channel import Channel, Hub, HubEventKind
from localai_flask.pool.client.inbox import Inbox
from localai_flask.pool.client.worker_links import WorkerLink
from localai_flask.pool.messages import Cancel, Command, Generate, Message
from localai_flask.pool.outbox import Outbox
from localai_flask.pool.protocol import WorkerAddress
from localai_flask.sampling_params import SamplingParams

NAME = f"test-outbox-{os.getpid()}"
LARGE = Generate(Prompt("x" * 100_000), SamplingParams())


class Ends:
    """A channel whose far end is read only when a test says so."""

    def __init__(self) -> None:
        self.far_hub, self.near_hub = Hub(NAME), Hub()
        self.channel = Channel.connect(NAME)
        self.near_hub.add(self.channel)
        self.box = Outbox(self.channel, self.near_hub)
        self.sends_commands = True

    def read(self) -> list[list[tuple[int, Message]]]:
        """Read until both sides have nothing more to do; return the frames."""
        frames: list[list[tuple[int, Message]]] = []
        while True:
            events = self.far_hub.recv(0.05)
            payloads = [event.payload for event in events if event.payload is not None]
            decode = messages.decode_commands if self.sends_commands else messages.decode_answers
            frames += [list(decode(payload)) for payload in payloads]
            near = self.near_hub.recv(0.05)
            if any(event.kind is HubEventKind.ROOM for event in near):
                self.box.flush()
            if not events and not near:
                return frames


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    with contextlib.closing(ends.far_hub), contextlib.closing(ends.near_hub):
        yield ends


def fill(ends: Ends) -> int:
    """Send commands until one is kept; return how many went out."""
    count = 0
    while not ends.box._kept:
        count += 1
        ends.box.send_together([(count, LARGE)])
    return count


def test_commands_are_kept_without_waiting_and_arrive_in_their_order(ends: Ends) -> None:
    count = fill(ends)
    group: list[tuple[int, Command]] = [(1001, LARGE), (1002, LARGE)]
    ends.box.send_together(group)
    ends.box.send([(count, Cancel()), (1002, Cancel())])
    frames = ends.read()
    assert [message[0] for frame in frames[: count - 1] for message in frame] == list(range(1, count))
    assert frames[count - 1] == [(count, LARGE), (count, Cancel())], "the cancel of a kept request comes behind it"
    assert frames[count:] == [group, [(1002, Cancel())]], "what belongs together arrives together"


def test_deltas_that_wait_become_one(ends: Ends) -> None:
    ends.sends_commands = False
    sent = 0
    while not ends.box._kept:
        ends.box.send([(1, Delta("x" * 10_000))])
        sent += 1
    for number in range(500):
        ends.box.send([(1, Delta(f"{number},")), (2, Delta("y"))])
    frames = ends.read()
    assert len(frames) == sent - 1 + 2
    text = "".join(delta.text for frame in frames for id, delta in frame if id == 1 and isinstance(delta, Delta))
    assert text == "x" * 10_000 * sent + "".join(f"{number}," for number in range(500))


def test_a_worker_that_takes_nothing_for_long_gets_no_more_requests(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = WorkerLink(WorkerAddress("w", NAME, os.getpid()), ends.channel, ends.near_hub)
    inbox = Inbox()
    while not link.outbox._kept:
        link.send(LARGE, inbox, 0)
    before = link.outstanding
    link.send(LARGE, inbox, 0)
    monkeypatch.setattr(outbox, "LONGEST_BACKLOG_S", 0.0)
    with pytest.raises(Overloaded, match="too busy"):
        link.send(LARGE, inbox, 0)
    assert link.outstanding == before + 1, "a refused request leaves nothing behind"
