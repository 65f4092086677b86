"""One end kills itself at one executed line after the other; the other end must see neither garbage nor a hang."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from localai_flask.pool import channel as channel_package
from localai_flask.pool.channel import Channel, ChannelGone, Hub
from tests.pool.channel.helpers import GONE, JOINED, open_fds, send_whole

SOURCES = os.path.dirname(channel_package.__file__)
MAX_KILLS = 60
DEADLINE_S = 5.0
NEVER = 1 << 30
UP = b"up"


class Doom:
    """Counts the executed lines of the channel, and kills the process before the one that was asked for."""

    def __init__(self, line: int, pipe: int):
        self.line = line
        self.pipe = pipe
        self.count = 0

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCES):
            return None
        if event == "line":
            self.count += 1
            if self.count == self.line:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.trace


@contextlib.contextmanager
def doomed(work: Callable[[Doom], None], line: int) -> Iterator[int]:
    """Run `work` in a child that dies at that line; yield a pipe from it, with the count if it got that far."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            doom = Doom(line, into)
            work(doom)
            sys.settrace(None)
            os.write(into, b"%d" % doom.count)
        except BaseException:
            sys.settrace(None)
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(into)
    try:
        yield out
    finally:
        os.close(out)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def lines_to_die_at(count: int) -> list[int]:
    step = max(1, count // MAX_KILLS)
    return list(range(1, count + 1, step))


def received_until_gone(hub: Hub) -> list[bytes]:
    """Return the messages of the one peer that joins and goes; fail if it is not told gone."""
    got, deadline = [], time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for event in hub.recv(0.5):
            if event.kind is GONE:
                return got
            if event.payload is not None:
                got.append(event.payload)
    raise AssertionError(f"no GONE; got messages of {[len(message) for message in got]} bytes")


def test_a_writer_killed_at_any_line_leaves_only_whole_messages(name: str) -> None:
    messages = [b"A" * 1000, b"B" * 600_000, b"C" * 50, b"D" * 300_000]

    def write(doom: Doom) -> None:
        channel = Channel.connect(name)
        channel.send(messages[0])
        sys.settrace(doom.trace)
        channel.send(messages[1])
        channel.send(messages[2])
        channel.send(messages[3])

    with contextlib.closing(Hub(name)) as hub, contextlib.closing(Channel.connect(name)) as other:
        assert [event.kind for event in hub.recv(DEADLINE_S)] == [JOINED]
        with doomed(write, NEVER) as pipe:
            assert received_until_gone(hub) == messages
            count = int(os.read(pipe, 20))
        numbers = set()
        for line in lines_to_die_at(count):
            with doomed(write, line):
                got = received_until_gone(hub)
            assert got and got == messages[: len(got)], f"killed at line {line}"
            numbers.add(len(got))
            other.send(b"undisturbed")
            assert [event.payload for event in hub.recv(DEADLINE_S)] == [b"undisturbed"]
        assert numbers >= {1, 2, 3}


def test_a_reader_killed_at_any_line_is_gone_for_its_writer(name: str) -> None:
    def read(doom: Doom) -> None:
        with contextlib.closing(Hub(name)) as hub:
            os.write(doom.pipe, UP)
            sys.settrace(doom.trace)
            while GONE not in [event.kind for event in hub.recv()]:
                pass

    def write(pipe: int, messages: int) -> None:
        assert os.read(pipe, len(UP)) == UP
        with contextlib.closing(Channel.connect(name)) as channel:
            for _ in range(messages):
                send_whole(channel, b"x" * 300_000)

    with doomed(read, NEVER) as pipe:
        write(pipe, 10)
        count = int(os.read(pipe, 20))
    for line in lines_to_die_at(count):
        with doomed(read, line) as pipe:
            started = time.monotonic()
            with pytest.raises(ChannelGone):
                write(pipe, NEVER)
            assert time.monotonic() - started < DEADLINE_S, f"killed at line {line}"


def test_a_caller_killed_at_any_line_of_connecting_leaves_the_listener_well(name: str) -> None:
    def connect(doom: Doom) -> None:
        sys.settrace(doom.trace)
        Channel.connect(name)

    with contextlib.closing(Hub(name)) as hub:
        with doomed(connect, NEVER) as pipe:
            assert received_until_gone(hub) == []
            count = int(os.read(pipe, 20))
        before = open_fds()
        for line in lines_to_die_at(count):
            with doomed(connect, line) as pipe_of_the_dead:
                assert os.read(pipe_of_the_dead, 20) == b"", f"not killed at line {line}"
            kinds = [event.kind for _ in range(3) for event in hub.recv(0.002)]
            assert kinds in ([], [JOINED, GONE]), f"killed at line {line}"
        with contextlib.closing(Channel.connect(name)) as caller:
            assert [event.kind for event in hub.recv(DEADLINE_S)] == [JOINED]
            caller.send(b"well")
            assert [event.payload for event in hub.recv(DEADLINE_S)] == [b"well"]
        assert [event.kind for event in hub.recv(DEADLINE_S)] == [GONE]
        assert open_fds() == before
