"""A process that gunicorn's arbiter keeps running: another takes its place when it dies or hangs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from localai_flask.server.processes.child import WatchedChild

log = logging.getLogger("gunicorn.error")

LOOK_S = 0.25
"""How often to look whether a process that was not needed at first is needed by now."""
KILL_S = 8.0
"""How long the kernel may take to end a killed process."""
QUICK_DEATH_S = 5.0
"""A process that ends sooner than this after its start is started again after a pause, which doubles each time."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """What is to be kept running: a module that beats on the descriptor that it gets as its argument."""

    name: str
    module: str
    silence_s: float
    """How long it may go without a heartbeat."""
    grace_s: float
    """How long it may take to leave after SIGTERM."""
    is_needed: Callable[[], bool] = lambda: True
    """Whether to start it at all; once started it stays."""
    drains: bool = False
    """Whether it drains work of its own, and nobody who drains as well needs it."""


class KeptProcess:
    """One process of a service at a time.

    The watching thread only waits and starts processes. The arbiter forks web workers meanwhile; the lock is held
    around both, so that no fork happens in the middle of a start.
    """

    def __init__(self, service: Service, environment: dict[str, str]):
        self._service = service
        self._environment = environment
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._child: WatchedChild | None = None
        self._asked_at: float | None = None
        """When the process was first asked to leave."""
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._watch, name=f"{service.name}-watch", daemon=True)
        os.register_at_fork(before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._let_go)

    def _let_go(self) -> None:
        """Keep no descriptors of the process in a forked web worker."""
        if self._child is not None:
            self._child.close()
            self._child = None
        self._lock.release()

    @property
    def drains(self) -> bool:
        return self._service.drains

    def start(self) -> None:
        """Start the first process, if it is needed yet; raise `OSError` if that cannot be done."""
        if self._service.is_needed():
            self._spawn()
        self._thread.start()

    def ask_to_leave(self) -> None:
        """Inform the process that the server is stopping, so that it drains meanwhile."""
        self._stopping.set()
        with self._lock:
            child = self._child
        self._asked_at = self._asked_at or time.monotonic()
        if child is not None:
            child.send(signal.SIGTERM)

    def stop(self) -> None:
        """End the process, first by asking; only in the process that started it."""
        if os.getpid() != self._owner:
            return
        self.ask_to_leave()
        with self._lock:
            child = self._child
        assert self._asked_at is not None
        left_s = self._asked_at + self._service.grace_s - time.monotonic()
        if child is not None and not child.end(signal.SIGTERM, left_s):
            child.end(signal.SIGKILL, KILL_S)

    def _spawn(self) -> None:
        with self._lock:
            if not self._stopping.is_set():
                command = [sys.executable, "-m", self._service.module]
                self._child = WatchedChild(command, self._environment)

    def _watch(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            if self._child is not None:
                lived_s = self._wait_for_end(self._child)
                pause = 0.0 if lived_s >= QUICK_DEATH_S else min(LONGEST_PAUSE_S, pause * 2 or SHORTEST_PAUSE_S)
                self._stopping.wait(pause)
            elif not self._service.is_needed():
                self._stopping.wait(LOOK_S)
            elif not self._try_to_spawn():
                self._stopping.wait(LONGEST_PAUSE_S)

    def _wait_for_end(self, child: WatchedChild) -> float:
        """Wait until the process ends, or kill it when it is silent; return how long it lived, in seconds."""
        begun = time.monotonic()
        if not child.outlives(self._service.silence_s):
            log.error("%s (pid %d) has been silent for %.0f s", self._service.name, child.pid, self._service.silence_s)
            child.end(signal.SIGKILL, KILL_S)
        with self._lock:
            if not self._stopping.is_set():  # else `stop` may hold it
                log.error("%s (pid %d) ended; starting another", self._service.name, child.pid)
                self._child = None
                child.close()
        return time.monotonic() - begun

    def _try_to_spawn(self) -> bool:
        try:
            self._spawn()
        except OSError as error:
            log.error("cannot start %s: %s; trying again", self._service.name, error)
            return False
        return True
