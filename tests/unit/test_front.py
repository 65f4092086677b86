"""What stands in front of an engine: limits, deadlines and starts, with an engine that does as it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localai_flask.backends.base import Event, Inquiry, Job
from localai_flask.config.blocks import Limits
from localai_flask.errors import ApiError, Overloaded
from localai_flask.generation import Failed, Finished, FinishReason, Prompt, Usage
from localai_flask.inquiry import Embed, Embedded
from localai_flask.pool.in_hand import InHand, Mark, read_suspect
from localai_flask.pool.messages import Queued, Taken, Terms
from localai_flask.pool.worker.requests import front as front_module
from localai_flask.pool.worker.requests.front import Front
from localai_flask.pool.worker.requests.requests import Request
from localai_flask.sampling_params import SamplingParams

DONE = Finished(FinishReason.EOS, Usage(1, 1))


class Engine:
    """Runs two jobs and four texts at once, and none of those that are to start later."""

    def __init__(self) -> None:
        self.running: list[int] = []
        self.texts: list[int] = []
        self.later: set[int] = set()
        self.cancelled: list[int] = []

    @property
    def room(self) -> int:
        return 2 - len(self.running)

    @property
    def inquiry_room(self) -> int:
        return 4 - len(self.texts)

    def start(self, job: Job) -> bool:
        if job.id in self.later:
            return False
        self.running.append(job.id)
        return True

    def start_inquiry(self, inquiry: Inquiry) -> None:
        self.texts.append(inquiry.id)

    def cancel(self, id: int) -> None:
        self.cancelled.append(id)
        self.running.remove(id)


class Desk:
    """A front with its engine, and what its clients hear."""

    def __init__(self, path: Path, queue_size: int = 3, **limits: Any):
        self.engine: Any = Engine()
        self.heard: dict[int, list[Any]] = {}
        self.path = path
        self.interval_s = 0.0
        self.front = Front("tiny", lambda: queue_size, self.publish, InHand(path), lambda: self.interval_s)
        self.limits = Limits(**limits)
        self.now = 0.0

    def publish(self, channel: Any, answers: list[tuple[int, Any]]) -> None:
        assert answers, "the other end is woken for nothing"
        for request_id, answer in answers:
            self.heard.setdefault(request_id, []).append(answer)

    def come(self, id: int, channel: Any = "web", **terms: Any) -> Job:
        job = Job(id, Prompt(f"prompt {id}"), SamplingParams())
        self.front.check_limit(self.limits)
        self.front.check_room(self.limits, self.engine.room)
        self.front.add(Request(job, (channel, id), Terms(**terms), Mark(b"%016d" % id), self.now))
        return job

    def ask(self, first: int, count: int, **terms: Any) -> None:
        self.front.check_inquiry_room(self.limits)
        for id in range(first, first + count):
            inquiry = Inquiry(id, Embed(Prompt("text")), first)
            mark = Mark(b"%016d" % id)
            self.front.add(Request(inquiry, ("web", id), Terms(**terms), mark, self.now))  # type: ignore[arg-type]

    def turn(self, *events: Event) -> None:
        for id, _ in events:
            (self.engine.running if id in self.engine.running else self.engine.texts).remove(id)
        self.front.hand_out(list(events))
        self.front.expire(self.engine)
        self.front.start(self.engine)
        self.front.tell_waiting()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "hand")


def test_exactly_as_many_as_run_and_may_wait_are_taken(desk: Desk) -> None:
    taken = 0
    for id in range(1, 50):  # all before the engine has started one
        try:
            desk.come(id)
        except Overloaded as error:
            assert "3 requests already wait" in str(error)
        else:
            taken += 1
    assert taken == 5
    desk.turn()
    assert desk.engine.running == [1, 2] and desk.front.counts == (2, 3)
    with pytest.raises(Overloaded):
        desk.come(90)
    desk.turn((1, DONE))
    desk.come(91)
    with pytest.raises(Overloaded):
        desk.come(92)


def test_a_limit_counts_all_and_a_group_as_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "hand", max_concurrent=2, retry_after_seconds=7)
    desk.come(1)
    desk.ask(10, 8)
    with pytest.raises(Overloaded, match="takes 2 requests at once") as refused:
        desk.come(2)
    assert refused.value.info.retry_after == 7
    desk.turn()
    desk.turn((1, DONE))
    desk.come(3)


def test_the_wait_told_is_that_of_late(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.front._jobs, "_clock", lambda: desk.now)
    for id in range(1, 6):
        desk.come(id)
    desk.turn()
    desk.now += 30
    with pytest.raises(Overloaded) as refused:
        desk.come(9)
    assert refused.value.info.retry_after == 15  # two places, and nobody has come to an end in half a minute
    desk.turn((1, DONE), (2, DONE))
    desk.come(9), desk.come(10)
    desk.now += 10
    with pytest.raises(Overloaded) as refused:
        desk.come(11)
    assert refused.value.info.retry_after == 15  # for 30 s a request ran, of late
    desk.now += 10_000
    with pytest.raises(Overloaded) as refused:
        desk.come(11)
    assert refused.value.info.retry_after == 600


def test_those_who_wait_hear_so_and_then_that_they_are_taken(desk: Desk) -> None:
    for id in (1, 2, 3):
        desk.come(id)
    desk.turn()
    desk.turn()
    assert desk.heard == {3: [Queued()]}
    desk.turn((1, DONE))
    assert desk.heard[3] == [Queued(), Taken()], "from here on it may be why its worker dies"


def test_a_request_that_is_to_start_later_is_passed_by_others(desk: Desk) -> None:
    desk.engine.later = {1}
    for id in (1, 2, 3, 4):
        desk.come(id)
    desk.turn()
    assert desk.engine.running == [2, 3]
    desk.engine.later = set()
    desk.turn((2, DONE))
    assert desk.engine.running == [3, 1]


def test_only_what_runs_can_be_suspected(desk: Desk) -> None:
    desk.come(1)
    desk.engine.later = {2, 3}
    desk.come(2), desk.come(3)
    desk.turn()
    assert read_suspect(desk.path) == Mark(b"%016d" % 1), "those who wait have an alibi"
    desk.turn((1, DONE))
    assert read_suspect(desk.path) is None


@pytest.mark.parametrize("stage", ["waiting", "prompt", "decoding", "text"])
def test_a_deadline_tells_how_far_the_request_had_come(desk: Desk, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module.time, "monotonic", lambda: desk.now)
    said = {
        "waiting": "still waited for its turn",
        "prompt": "prompt was being processed",
        "decoding": "3 tokens were generated",
        "text": "its text was being computed",
    }
    if stage == "waiting":
        desk.come(1), desk.come(2)
    if stage == "text":
        inquiry = Inquiry(5, Embed(Prompt("text")), 5)
        desk.front.add(Request(inquiry, ("web", 5), Terms(2.0), Mark(b"5" * 16), desk.now))  # type: ignore[arg-type]
    else:
        job = desk.come(5, timeout_s=2.0)
        job.output_tokens = [7, 8, 9] if stage == "decoding" else []
    desk.come(6, timeout_s=60.0)
    monkeypatch.setattr(desk.engine, "cancel", lambda id: desk.engine.cancelled.append(id))
    desk.turn()
    desk.now += 1.9
    desk.turn()
    assert not any(isinstance(each, Failed) for each in desk.heard.get(5, []))
    desk.now += 0.2
    desk.turn()
    failed = desk.heard[5][-1]
    assert isinstance(failed, Failed) and (failed.error.status, failed.error.code) == (504, "deadline_exceeded")
    assert said[stage] in failed.error.message
    assert desk.engine.cancelled == ([] if stage == "waiting" else [5]), "what never started is nothing to cancel"
    assert not any(isinstance(each, Failed) for each in desk.heard.get(6, []))


def test_texts_that_came_together_are_computed_though_the_last_of_them_wait(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module.time, "monotonic", lambda: desk.now)
    monkeypatch.setattr(desk.engine, "cancel", lambda id: None)
    desk.ask(20, 10, timeout_s=2.0)
    desk.ask(30, 2, timeout_s=2.0)
    desk.turn()
    desk.turn(*((id, Embedded(b"", 1, 1)) for id in (20, 21, 22, 23)))
    assert desk.engine.texts == [24, 25, 26, 27], "the engine takes no more at once"
    desk.now += 2.1
    desk.turn()
    said = {id: desk.heard[id][-1].error.message for id in (24, 28, 29, 30, 31)}
    assert all("its text was being computed" in said[id] for id in (24, 28, 29))
    assert all("it still waited for its turn" in said[id] for id in (30, 31))


def test_who_leaves_is_forgotten_whatever_its_stage(desk: Desk) -> None:
    for id in (1, 2, 3, 4):
        desk.come(id, channel=id % 2)
    desk.turn()
    assert desk.front.cancel_at(1, 1, desk.engine) and not desk.front.cancel_at(1, 1, desk.engine)  # type: ignore[arg-type]
    desk.front.cancel_all(0, desk.engine)  # type: ignore[arg-type]
    assert desk.engine.cancelled == [1, 2] and len(desk.front) == 1
    desk.turn()
    assert desk.engine.running == [3]


def test_texts_go_in_as_there_is_room_for_them(desk: Desk) -> None:
    desk.ask(10, 6)
    desk.ask(20, 1)
    desk.turn()
    assert desk.engine.texts == [10, 11, 12, 13] and desk.front.counts == (1, 1)
    desk.turn(*((id, Embedded(b"", 0, 1)) for id in (10, 11, 12, 13)))
    assert desk.engine.texts == [14, 15, 20]


def test_a_full_queue_refuses_groups_and_not_texts(desk: Desk) -> None:
    for first in (100, 200, 300, 400):
        desk.ask(first, 50)
    with pytest.raises(ApiError, match="already wait"):
        desk.ask(500, 1)


def test_who_asks_is_told_the_place_and_of_each_change(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "PLACES_S", 0.0)
    for id in (1, 2, 3):
        desk.come(id)
    desk.come(4, tells_place=True)
    desk.turn()
    desk.turn()
    assert desk.heard[4] == [Queued(), Queued(2)]
    desk.turn((1, DONE))
    assert desk.heard[4] == [Queued(), Queued(2), Queued(1)]
    assert desk.heard[3] == [Queued(), Taken()]
