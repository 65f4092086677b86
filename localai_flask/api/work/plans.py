"""How a request's plan is waited for: what the model is to be given, once its documents and images are there."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

from localai_flask.api.door.places import settle
from localai_flask.api.request.waiting import check_reading_time
from localai_flask.pool.messages import Terms

T = TypeVar("T")

Planned: TypeAlias = T | Generator[None, None, T]
"""A plan; or what makes it, yields at each beat of waiting for what it needs, and gives that up when it is closed."""


def await_plan(planned: Planned[T], check: Callable[[], None], terms: Terms, begun: float) -> Generator[None, None, T]:
    """Return a plan, yielding at each beat, as long as `check` raises nothing and the request that `begun` has time."""
    if not isinstance(planned, Generator):
        return planned
    try:
        while True:
            next(planned)
            settle()
            check()
            check_reading_time(terms, begun)
            yield
    except StopIteration as end:
        plan: T = end.value
        return plan
    finally:
        planned.close()


def finish(waiting: Generator[None, None, T]) -> T:
    """Wait to the end, where nobody is to be told at each beat."""
    while True:
        try:
            next(waiting)
        except StopIteration as end:
            result: T = end.value
            return result
