"""Fetches in a thread of its own, so that whoever waits for it can tell that nobody else does any more, and end it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import ContextVar
from typing import TypeVar

BEAT_S = 0.1

T = TypeVar("T")


class Ended(Exception):
    """Nobody waits for what is fetched."""


class Connections:
    """Those that are made for one fetch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: list[socket.socket] = []
        self._is_over = False

    def check(self) -> None:
        """Raise `Ended` if there are to be no more."""
        if self._is_over:
            raise Ended

    def hold(self, made: socket.socket) -> None:
        """Have a connection closed at the end, whatever becomes of its socket, which TLS takes over."""
        with self._lock:
            self.check()
            self._made.append(socket.socket(fileno=os.dup(made.fileno())))

    def end(self) -> None:
        """Close all of them, so that nobody waits for what comes there."""
        with self._lock:
            self._is_over = True
            for made in self._made:
                with suppress(OSError), made:
                    made.shutdown(socket.SHUT_RDWR)


connections: ContextVar[Connections | None] = ContextVar("connections", default=None)
"""Those of the fetch in the present thread, if somebody may end it."""


def run_aside(fetch: Callable[[], T], longest_s: float) -> Generator[None, None, T]:
    """Return what is fetched, yielding at each beat; closed before, it ends the connections.

    Raises what `fetch` raises, and `TimeoutError` if it takes too long.
    """
    made, result = Connections(), Future[T]()

    def run() -> None:
        connections.set(made)
        try:
            result.set_result(fetch())
        except BaseException as error:  # the thread's boundary: it is raised where somebody waits
            result.set_exception(error)

    deadline = time.monotonic() + longest_s
    threading.Thread(target=run, name="fetch", daemon=True).start()
    try:
        while not wait([result], BEAT_S).done:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"it takes more than {longest_s:.0f} s")
            yield
        return result.result()
    finally:
        made.end()
