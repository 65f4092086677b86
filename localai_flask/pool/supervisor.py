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
QUICK_DEATH_S = 5.0
LONGEST_PAUSE_S = 5.0


class Supervisor:
    """One manager process at a time, replaced within a moment when it dies.

    The watching thread only waits on a pidfd and starts processes. The arbiter forks web workers meanwhile; the lock is
    held around both, so that no fork happens in the middle of a start.
    """

    def __init__(self, settings: Settings, runtime: Runtime):
        self._environment = {**os.environ, **settings.to_environment(), ENV: str(runtime.path)}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._watch, name="pool-supervisor", daemon=True)
        os.register_at_fork(
            before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._lock.release
        )

    def start(self) -> None:
        self._spawn()
        self._thread.start()

    def stop(self) -> None:
        """End the manager, which ends its workers; only in the process that started it."""
        if os.getpid() != self._owner:
            return
        self._stopping.set()
        process = self._process
        if process is None:
            return
        with _pidfd(process.pid) as descriptor:
            if descriptor >= 0:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                if not select.select([descriptor], [], [], STOP_GRACE_S)[0]:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    select.select([descriptor], [], [], STOP_GRACE_S)
        process.poll()

    def _spawn(self) -> float:
        with self._lock:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "localai_flask.pool.manager"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal is the arbiter's to handle
            )
        return time.monotonic()

    def _watch(self) -> None:
        started, pause = time.monotonic(), 0.0
        while not self._stopping.is_set():
            assert self._process is not None
            with _pidfd(self._process.pid) as descriptor:
                # The arbiter may reap the manager first, as it reaps all its children; the pidfd tells all the same.
                if descriptor >= 0:
                    select.select([descriptor], [], [])
            if self._stopping.is_set():
                return
            self._process.poll()
            log.error("the pool manager (pid %d) ended; starting another", self._process.pid)
            quick = time.monotonic() - started < QUICK_DEATH_S
            pause = min(LONGEST_PAUSE_S, pause * 2 or 0.25) if quick else 0.0
            if self._stopping.wait(pause):
                return
            started = self._spawn()


class _pidfd:
    """A pidfd for the length of a block; -1 if the process has been reaped."""

    def __init__(self, pid: int):
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = -1

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
