"""How many clients may watch the server through one process: each holds one of its spare threads, and no place."""

from __future__ import annotations

import threading

from localai_flask.errors import Overloaded

MOST_LISTENERS = 32
"""A quarter of the threads beyond those for model work (`SPARE_THREADS` of the server's settings)."""
_listeners = threading.BoundedSemaphore(MOST_LISTENERS)


def join_listeners() -> None:
    """Count one more client; raise `Overloaded` if there are as many as there may be."""
    if not _listeners.acquire(blocking=False):
        raise Overloaded(f"{MOST_LISTENERS} clients watch this process already; try again later.")


def leave_listeners() -> None:
    """Count one client less."""
    _listeners.release()
