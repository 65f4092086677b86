"""A thread beside an engine's own: compiles grammars, tokenizes, encodes images or reads files, as the engine computes.

llguidance lets go of the interpreter's lock while it compiles, and goes down a grammar's rules by recursion: where the
stack is too small for a long chain of rules, the process dies.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

STACK_BYTES = 512 << 20
"""Address space, of which only what is used becomes memory."""

T = TypeVar("T")


def both(one: Future[Any], other: Future[Any]) -> Future[Any]:
    """Return what is made, of nothing, once both are, or fails as one of them has."""
    made: Future[Any] = Future()

    def end(_: Future[Any]) -> None:
        error = one.exception() or other.exception()
        if error is None:
            made.set_result(None)
        else:
            made.set_exception(error)

    one.add_done_callback(lambda _: other.add_done_callback(end))
    return made


class SideThread:
    """Runs one thing after the other; its thread begins with the first and ends with the process."""

    def __init__(self, name: str = "grammars") -> None:
        self._name = name
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, make: Callable[[], T]) -> Future[T]:
        """Have something made."""
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(make())
                except BaseException as error:  # also what compiled code raises beside Exception, as pyo3's panics
                    future.set_exception(error)

        self._queue.put(run)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            usual = threading.stack_size(STACK_BYTES)
            try:
                self._thread.start()
            finally:
                threading.stack_size(usual)
        return future

    def drain(self) -> None:
        """Wait until nothing is left, as what it needs is about to go."""
        if self._thread is not None:
            self.submit(bool).result()

    def _run(self) -> None:
        while True:
            self._queue.get()()
