"""Who has a PDF read next: one caller may be as busy as it likes, and the others are served."""

from __future__ import annotations

import pytest

from localai_flask.documents.line import Line, Turn


@pytest.fixture
def line() -> Line:
    return Line(places=3, most_of_one=2)


def come(*turns: Turn) -> list[bool]:
    return [turn.has_come.is_set() for turn in turns]


def test_one_caller_cannot_have_all_places(line: Line) -> None:
    greedy = [line.join("greedy") for _ in range(9)]
    assert come(*greedy) == [True, True, *[False] * 7]
    assert come(line.join("other")) == [True]


def test_a_place_that_is_given_back_is_the_next_ones(line: Line) -> None:
    first, second, third = (line.join("a") for _ in range(3))
    line.leave(first)
    assert come(second, third) == [True, True]


def test_who_waits_may_leave(line: Line) -> None:
    first, _, third, fourth = (line.join("a") for _ in range(4))
    line.leave(third)
    line.leave(first)
    assert come(third, fourth) == [False, True]


def test_callers_take_turns_whoever_came_first(line: Line) -> None:
    """A hundred requests of two callers do not keep a third one waiting that came behind them."""
    line = Line(places=1, most_of_one=1)
    turns = [line.join(caller) for caller in "aaabbbc"]
    order = []
    while waiting := [turn for turn in turns if turn.has_come.is_set()]:
        order.append(waiting[0].caller)
        turns.remove(waiting[0])
        line.leave(waiting[0])
    assert "".join(order) == "aabcabb"
