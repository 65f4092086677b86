"""Keeps the pool manager running: started, watched and stopped by gunicorn's arbiter."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time

from localai_flask.pool.runtime import ENV, Runtime
from localai_flask.settings import Settings

log = logging.getLogger("gunicorn.error")

STOP_GRACE_S = 8.0
SILENCE_S = 10.0
"""How long a manager may go without a tick."""
QUICK_DEATH_S = 5.0
LONGEST_PAUSE_S = 5.0


class Supervisor:
    """One manager process at a time, replaced within a moment when it dies, and killed when it hangs.

    The watching thread only waits and starts processes. The arbiter forks web workers meanwhile; the lock is held
    around both, so that no fork happens in the middle of a start.
    """

    def __init__(self, settings: Settings, runtime: Runtime):
        self._environment = {**os.environ, **settings.to_environment(), ENV: str(runtime.path)}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._manager: _Manager | None = None
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._watch, name="pool-supervisor", daemon=True)
        os.register_at_fork(
            before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._lock.release
        )

    def start(self) -> None:
        """Start the first manager; raise `OSError` if that cannot be done."""
        self._spawn()
        self._thread.start()

    def stop(self) -> None:
        """End the manager, which ends its workers; only in the process that started it."""
        if os.getpid() != self._owner:
            return
        self._stopping.set()
        with self._lock:
            manager = self._manager
        if manager is not None and not manager.end(signal.SIGTERM, STOP_GRACE_S):
            manager.end(signal.SIGKILL, STOP_GRACE_S)

    def _spawn(self) -> None:
        with self._lock:
            if not self._stopping.is_set():
                self._manager = _Manager(self._environment)

    def _watch(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            assert self._manager is not None
            manager, started = self._manager, time.monotonic()
            if not manager.outlives(SILENCE_S):
                log.error("the pool manager (pid %d) has been silent for %.0f s", manager.pid, SILENCE_S)
                manager.end(signal.SIGKILL, STOP_GRACE_S)
            if self._stopping.is_set():
                return
            log.error("the pool manager (pid %d) ended; starting another", manager.pid)
            quick = time.monotonic() - started < QUICK_DEATH_S
            pause = min(LONGEST_PAUSE_S, pause * 2 or 0.25) if quick else 0.0
            while not self._stopping.wait(pause) and self._manager is manager:
                try:
                    self._spawn()
                except OSError as error:
                    pause = LONGEST_PAUSE_S
                    log.error("cannot start the pool manager: %s; trying again", error)
            if self._stopping.is_set():
                return  # `stop` may hold it
            manager.close()


class _Manager:
    """One manager process, and the pipe on which it tells that it ticks."""

    def __init__(self, environment: dict[str, str]):
        self._pulse, pulse = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "localai_flask.pool.manager", str(pulse)],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[pulse],
                start_new_session=True,  # a Ctrl-C in the terminal is the arbiter's to handle
            )
        except OSError:
            os.close(self._pulse)
            raise
        finally:
            os.close(pulse)
        self.pid = self._process.pid
        try:
            # The arbiter may reap the manager first, as it reaps all its children; the pidfd tells all the same.
            self._pidfd: int | None = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._pidfd = None

    def outlives(self, silence_s: float) -> bool:
        """Wait for the process's end; False if it gives no sign of life for so long."""
        watched = [self._pulse] if self._pidfd is None else [self._pulse, self._pidfd]
        while self._pidfd is not None:
            ready = select.select(watched, [], [], silence_s)[0]
            if not ready:
                return False
            if self._pidfd in ready:
                break
            if not os.read(self._pulse, 4096):
                watched.remove(self._pulse)  # all its ends are closed, so the process is ending
        self._process.poll()
        return True

    def end(self, number: signal.Signals, timeout_s: float) -> bool:
        """Send a signal and wait for the end; False if it did not come in time."""
        if self._pidfd is not None:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass  # it ended meanwhile
            if not select.select([self._pidfd], [], [], timeout_s)[0]:
                return False
        self._process.poll()
        return True

    def close(self) -> None:
        """Give the descriptors of an ended process back."""
        os.close(self._pulse)
        if self._pidfd is not None:
            os.close(self._pidfd)
