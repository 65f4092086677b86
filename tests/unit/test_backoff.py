"""How long a model is left alone after failed loads and after crashes."""

from __future__ import annotations

from localai_flask.pool.manager.table.backoff import Backoff


def test_failed_loads_wait_longer_each_time() -> None:
    backoff = Backoff()
    waits = []
    for _ in range(7):
        backoff.failed(10, now=1000)
        waits.append(backoff.retry_at - 1000)
    assert waits == [10, 20, 40, 80, 160, 300, 300]
    assert not backoff.may_try(1299)
    backoff.succeeded()
    assert backoff.may_try(1000)


def test_a_model_that_crashes_again_and_again_is_tried_ever_more_seldom() -> None:
    backoff = Backoff()
    now, waits = 1000.0, []
    for _ in range(6):
        now += 21
        backoff.crashed(now)
        if backoff.crashes_often(now):
            backoff.failed(10, now)
            waits.append(backoff.retry_at - now)
            now = backoff.retry_at
        backoff.succeeded()
    assert waits == [10, 20, 40], "the first three are forgiven"


def test_crashes_of_long_ago_are_forgiven() -> None:
    backoff = Backoff()
    for number in range(10):
        backoff.crashed(300.0 * number)
        assert not backoff.crashes_often(300.0 * number)
