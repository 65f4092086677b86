"""How long a model is left alone after failed loads and after crashes."""

from __future__ import annotations

import pytest

from localai_flask.pool.manager import failure
from localai_flask.pool.manager.failure import Backoff


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(failure, "time", clock)
    return clock


def test_failed_loads_wait_longer_each_time(clock: Clock) -> None:
    backoff = Backoff()
    waits = []
    for _ in range(7):
        backoff.failed(10)
        waits.append(backoff.retry_at - clock.now)
    assert waits == [10, 20, 40, 80, 160, 300, 300]
    backoff.succeeded()
    assert backoff.may_try


def test_a_model_that_crashes_again_and_again_is_tried_ever_more_seldom(clock: Clock) -> None:
    backoff = Backoff()
    waits = []
    for _ in range(6):
        clock.now += 21
        backoff.crashed()
        if backoff.crashes_often:
            backoff.failed(10)
            waits.append(backoff.retry_at - clock.now)
            clock.now = backoff.retry_at
        backoff.succeeded()
    assert waits == [10, 20, 40], "the first three are forgiven"


def test_crashes_of_long_ago_are_forgiven(clock: Clock) -> None:
    backoff = Backoff()
    for _ in range(10):
        clock.now += 300
        backoff.crashed()
        assert not backoff.crashes_often
