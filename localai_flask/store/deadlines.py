"""Hangs up on a database that does not answer: its driver would wait for ever for a server that is stopped.

A statement time-out is the server's to keep, and a stopped server keeps nothing.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOOK_S = 0.25


class Deadlines:
    """Watches the sockets of transactions under way; its thread starts with the first of them."""

    def __init__(self) -> None:
        self._ends: dict[int, float] = {}
        """By descriptor: the moment at which it is hung up."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, descriptor: int, limit_s: float) -> Iterator[None]:
        """Hang up on a socket if the block has not ended in time, so that whoever waits for it gets an error."""
        with self._changed:
            self._ends[descriptor] = time.monotonic() + limit_s
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="database-deadlines", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._ends[descriptor]

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._ends))
                now = time.monotonic()
                for descriptor, end in self._ends.items():
                    if now > end:
                        _hang_up(descriptor)
            time.sleep(LOOK_S)


def _hang_up(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
