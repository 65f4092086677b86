"""How much model work one web worker takes on at once, and all of them together for one key.

gunicorn has some threads more than there are places, so probes, listings and refusals are served while every place is
taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from flask import has_request_context, request

from localai_flask.api import current
from localai_flask.api.door import auth
from localai_flask.errors import Overloaded
from localai_flask.metrics.families import OPEN_WORK

if TYPE_CHECKING:
    from localai_flask.api.door.admission import Admitted

LONGEST_RETRY_S = 600.0
SMOOTHING = 0.2
TAKES_PLACE = "takes_place"
TAKES_SEAT = "takes_seat"

LISTENING = "that listen"

View = TypeVar("View", bound=Callable[..., Any])


def takes_place(view: View) -> View:
    """Mark a view that works on a model, so that the server's door refuses its requests when every place is taken."""
    setattr(view, TAKES_PLACE, True)
    return view


def takes_seat(parameter: str = "") -> Callable[[View], View]:
    """Mark a view that takes a seat, if its query has this parameter, so that it needs no share of other threads."""

    def mark(view: View) -> View:
        setattr(view, TAKES_SEAT, parameter)
        return view

    return mark


class Places:
    """A fixed number of places for requests that occupy a thread for as long as a model works."""

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic):
        self._count = count
        self._clock = clock
        self._lock = Lock()
        self._taken = 0
        self._usual_s = 0.0
        """How long a place is taken, by those that were given back lately."""

    def try_take(self) -> Place | None:
        """Take a place, if there is one."""
        with self._lock:
            if self._taken >= self._count:
                return None
            self._taken += 1
        begun = self._clock()
        return Place(lambda: self._give_back(begun))

    def take(self) -> Place:
        """Take a place; raise `Overloaded` at once if there is none."""
        place = self.try_take()
        if place is None:
            raise self.refusal()
        return place

    def refusal(self) -> Overloaded:
        """Return the error that every place is taken, and when one will probably be free."""
        return Overloaded(
            f"This server process is busy with {self._count} requests, which is its limit; "
            "try again in a moment, or raise LOCALAI_HTTP_THREADS or LOCALAI_WORKERS.",
            retry_after=max(1.0, min(self._usual_s / self._count, LONGEST_RETRY_S)),
        )

    def _give_back(self, begun: float) -> None:
        with self._lock:
            self._taken -= 1
            taken_s = self._clock() - begun
            self._usual_s += (SMOOTHING if self._usual_s else 1.0) * (taken_s - self._usual_s)


class Place:
    """A place that was taken."""

    def __init__(self, give_back: Callable[[], None]):
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        """Release the place; may be called again."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


def take_place() -> Place:
    """Take a place for the present request, or for a background run outside of requests.

    Raises `Overloaded` if there is none, and `TooManyRequests` if the request's key has as many as it may.
    """
    key, counts = auth.key(), current.counts()
    with ExitStack() as taken:
        if admitted_at_door() is None:
            taken.callback(current.places().take().release)
        if key.max_requests:
            taken.callback(current.key_places().take(key.name, key.max_requests).release)
        counts.add(OPEN_WORK)
        taken.callback(counts.add, OPEN_WORK, (), -1)
        return Place(taken.pop_all().close)


def take_seat() -> Place:
    """Take a place for a request that listens to what is being made elsewhere, which counts for its key there.

    Beside those at work a key may have twice as many that listen, so that a page that is reloaded finds room before the
    one that it was is gone. Raises what `take_place` does.
    """
    key = auth.key()
    with ExitStack() as taken:
        if admitted_at_door() is None:
            taken.callback(current.places().take().release)
        if key.max_requests:
            taken.callback(current.key_places().take(key.name, 2 * key.max_requests, LISTENING).release)
        return Place(taken.pop_all().close)


def settle() -> None:
    """Let the door look at another request, since the present one only waits from here on."""
    if (admitted := admitted_at_door()) is not None:
        admitted.settle()


def admitted_at_door() -> Admitted | None:
    """What the server has let the present request in with, and takes back itself; None if it was not asked."""
    if not has_request_context():
        return None
    found: Admitted | None = getattr(request.environ.get("gunicorn.socket"), "admitted", None)
    return found
