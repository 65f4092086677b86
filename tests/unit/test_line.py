"""Who waits for an engine and who starts next, by a clock that only the test moves."""

from __future__ import annotations

import pytest

from localai_flask.pool.worker.requests.line import OLD_S, TURNS_TO_OLD, Line


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def line(clock: Clock) -> Line:
    return Line(clock)


def serve(line: Line, clock: Clock, seconds: float = 1.0) -> int:
    """Start who is next, let it run, and end it."""
    id = next(line.order())
    line.begin(id)
    clock.now += seconds
    line.end(id)
    return id


def test_one_caller_is_served_in_the_order_of_coming(line: Line, clock: Clock) -> None:
    for id in range(5):
        line.add(id, "a")
    assert list(line.order()) == [0, 1, 2, 3, 4]
    assert [serve(line, clock) for _ in range(5)] == [0, 1, 2, 3, 4]


def test_a_hundred_requests_of_one_caller_do_not_delay_anothers_one(line: Line, clock: Clock) -> None:
    for id in range(100):
        line.add(id, "many")
    for _ in range(4):
        line.begin(next(line.order()))
    clock.now += 3
    line.add(100, "one")
    assert next(line.order()) == 100


def test_callers_take_turns_even_if_all_places_come_free_at_once(line: Line) -> None:
    for id in range(4):
        line.add(id, "a")
    for id in range(4, 8):
        line.add(id, "b")
    line.add(8, "c")
    expected = list(line.order())
    started = []
    while len(line):
        started.append(next(line.order()))
        line.begin(started[-1])
    assert started == expected == [0, 4, 8, 1, 5, 2, 6, 3, 7]


def test_it_is_time_that_is_shared_and_not_the_count(line: Line, clock: Clock) -> None:
    for id in range(40):
        line.add(id, "long" if id % 2 else "short")
    for _ in range(20):
        id = next(line.order())
        line.begin(id)
        clock.now += 4 if id % 2 else 1
        line.end(id)
    left = list(line.order())
    assert sum(id % 2 for id in left) in (15, 16), "four short ones for each long one"


def test_nobody_saves_up_time_while_away(line: Line, clock: Clock) -> None:
    line.add(0, "b")
    for id in range(1, 60):
        line.add(id, "a")
    assert serve(line, clock) == 0  # b has gone, having had a second, and a has had none
    for _ in range(20):
        serve(line, clock)
    for id in range(100, 140):
        line.add(id, "b")
    served = [serve(line, clock) for _ in range(10)]
    assert sum(id >= 100 for id in served) in (5, 6), "b and a take turns; b is not owed twenty seconds"


def test_a_debt_is_forgotten_once_the_engine_has_nothing_to_do(line: Line, clock: Clock) -> None:
    line.add(0, "a")
    serve(line, clock, 100)
    line.add(1, "a")
    line.add(2, "b")
    assert list(line.order()) == [1, 2]


def test_the_lowest_priority_comes_first_and_what_nobody_waits_for_last(line: Line) -> None:
    line.add(0, level=(1, -5))
    line.add(1, level=(0, 5))
    line.add(2, level=(0, 0))
    line.add(3, level=(0, -1))
    line.add(4, level=(0, 0))
    assert list(line.order()) == [3, 2, 4, 1, 0]


def test_priority_goes_before_fairness(line: Line, clock: Clock) -> None:
    line.add(0, "a")
    line.begin(0)
    clock.now += 10
    line.add(1, "a", (0, -1))
    line.add(2, "b", (0, 0))
    assert list(line.order()) == [1, 2]


def test_whoever_waits_behind_urgent_ones_starts_in_the_end(line: Line, clock: Clock) -> None:
    line.add(0, "patient", (1, 100))
    line.add(1, "patient", (1, 100))
    served: list[int] = []
    for id in range(2, 500):  # always something more urgent
        line.add(id, "urgent", (0, -1000))
        line.add(1000 + id, "urgent", (0, -1000))
        served.append(serve(line, clock))
        if {0, 1} <= set(served):
            break
    first, second = served.index(0), served.index(1)
    assert OLD_S <= first <= OLD_S + TURNS_TO_OLD
    assert second - first == TURNS_TO_OLD, "but the urgent ones have most of the turns"


def test_those_who_are_not_old_are_passed_by(line: Line, clock: Clock) -> None:
    line.add(0, level=(1, 0))
    for id in range(1, 13):
        line.add(id)
    assert [serve(line, clock) for _ in range(13)] == [*range(1, 13), 0]


def test_who_is_removed_is_not_started(line: Line) -> None:
    for id in range(3):
        line.add(id, str(id))
    line.remove(1)
    line.remove(1)
    line.remove(77)
    assert list(line.order()) == [0, 2] and len(line) == 2 and 1 not in line


def test_the_time_until_a_place_is_free(line: Line, clock: Clock) -> None:
    for id in range(30):
        line.add(id)
    assert line.seconds_to_room(4) == 0
    for _ in range(12):
        serve(line, clock, 8)
    assert line.usual_s == pytest.approx(8)
    assert line.seconds_to_room(4) == pytest.approx(2)
    line.begin(next(line.order()))
    clock.now += 40  # much longer than usual, so it may go on for as long again
    assert line.seconds_to_room(4) == pytest.approx(10)


def test_what_was_cut_short_tells_nothing_about_others(line: Line, clock: Clock) -> None:
    for id in range(3):
        line.add(id)
    serve(line, clock, 8)
    line.begin(1)
    clock.now += 0.1
    line.end(1, is_usual=False)
    assert line.usual_s == 8


def test_a_thousand_callers_leave_nothing_behind(line: Line, clock: Clock) -> None:
    for id in range(1000):
        line.add(id, str(id))
        serve(line, clock)
    assert not line._used_s and not line._present
