"""Pieces of text that follow each other fast go out together, in their order, and none is lost or late."""

from __future__ import annotations

from pathlib import Path

import pytest

from localai_flask.generation import Delta, Failed, Progress
from localai_flask.pool.worker.requests import front as front_module
from localai_flask.pool.worker.requests import text_gatherer
from tests.unit.test_front import DONE, Desk

INTERVAL_S = 0.01


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (front_module, text_gatherer):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Desk:
    desk = Desk(tmp_path / "hand")
    desk.interval_s, desk.now = INTERVAL_S, clock.now
    for id in (1, 2):
        desk.come(id)
    desk.turn()
    desk.heard.clear()
    return desk


def written(desk: Desk, id: int) -> list[str]:
    return [answer.text for answer in desk.heard.get(id, []) if isinstance(answer, Delta)]


def test_fast_pieces_go_out_together(desk: Desk, clock: Clock) -> None:
    for letter in "abcdefg":
        desk.front.hand_out([(1, Delta(letter, tokens=1))])
        clock.now += 0.004
    assert written(desk, 1) == ["a", "bcd", "efg"], "the first at once, and each next one after ten milliseconds"
    assert [answer.tokens for answer in desk.heard[1]] == [1, 3, 3]


def test_slow_pieces_go_out_one_by_one(desk: Desk, clock: Clock) -> None:
    for letter in "abc":
        desk.front.hand_out([(1, Delta(letter))])
        clock.now += INTERVAL_S
    assert written(desk, 1) == ["a", "b", "c"]


def test_the_last_word_brings_all_text_before_it(desk: Desk, clock: Clock) -> None:
    desk.front.hand_out([(1, Delta("a"))])
    desk.front.hand_out([(1, Delta("b")), (1, Progress(1, 2)), (1, Delta("c")), (1, DONE)])
    assert desk.heard[1] == [Delta("a"), Delta("b"), Progress(1, 2), Delta("c"), DONE]
    assert desk.front.text_patience_s is None


def test_held_text_goes_out_in_time_without_its_own_sequence_writing_on(desk: Desk, clock: Clock) -> None:
    desk.front.hand_out([(1, Delta("a"))])
    clock.now += 0.004
    desk.front.hand_out([(1, Delta("b"))])
    assert desk.front.text_patience_s == pytest.approx(0.006)
    desk.front.hand_out([(2, Delta("x"))])
    assert written(desk, 1) == ["a"]
    clock.now += 0.007
    desk.front.hand_out([])
    assert written(desk, 1) == ["a", "b"]


def test_all_of_it_goes_out_before_what_takes_long(desk: Desk, clock: Clock) -> None:
    for letter in "ab":
        desk.front.hand_out([(1, Delta(letter)), (2, Delta(letter))])
    desk.front.hand_out([], everything=True)
    assert written(desk, 1) == written(desk, 2) == ["a", "b"]


def test_what_is_late_keeps_its_text_and_what_is_cancelled_says_nothing_more(desk: Desk, clock: Clock) -> None:
    desk.come(3, timeout_s=1.0)
    desk.engine.running.remove(2)
    desk.front.hand_out([(2, DONE)])
    desk.turn()
    for id in (1, 3):
        desk.front.hand_out([(id, Delta("a")), (id, Delta("b"))])
    desk.front.cancel_at("web", 1, desk.engine)  # type: ignore[arg-type]  # a channel's name is enough here
    clock.now += 2
    desk.front.expire(desk.engine)
    assert written(desk, 3) == ["a", "b"] and isinstance(desk.heard[3][-1], Failed)
    desk.front.hand_out([], everything=True)
    assert written(desk, 1) == ["a"]


def test_the_interval_may_be_none(desk: Desk) -> None:
    desk.interval_s = 0.0
    desk.front.hand_out([(1, Delta("a")), (1, Delta("b"))])
    assert written(desk, 1) == ["a", "b"]
