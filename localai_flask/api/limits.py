"""How much model work one web worker takes on at once.

gunicorn has some threads more than there are places, so probes, listings and refusals are served while every place is
taken.
"""

from __future__ import annotations

import threading

from localai_flask.errors import Overloaded


class Places:
    """A fixed number of places for requests that occupy a thread for as long as a model works."""

    def __init__(self, count: int):
        self._count = count
        self._free = threading.BoundedSemaphore(count)

    def take(self) -> Place:
        """Take a place; raise `Overloaded` at once if there is none."""
        if not self._free.acquire(blocking=False):
            raise Overloaded(
                f"This server process is busy with {self._count} requests, which is its limit; "
                "try again in a moment, or raise LOCALAI_HTTP_THREADS or LOCALAI_WORKERS."
            )
        return Place(self._free)


class Place:
    """A place that was taken."""

    def __init__(self, free: threading.BoundedSemaphore):
        self._free: threading.BoundedSemaphore | None = free

    def release(self) -> None:
        """Give the place back; may be called again."""
        free, self._free = self._free, None
        if free is not None:
            free.release()
