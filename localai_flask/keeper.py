"""Keeps the process running that works on background responses: started, watched and stopped by gunicorn's arbiter.

It is started as soon as there is a database, so that a server which stores no responses does without it; and it finds
there whatever a killed one has left.
"""

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
from localai_flask.store.place import exists

log = logging.getLogger("gunicorn.error")

LOOK_S = 0.25
MODULE = "localai_flask.api.responses.background"
LAST_WORDS_S = 5.0
"""How long beyond its time to drain the process may take to say why its runs have ended."""
QUICK_DEATH_S = 5.0
LONGEST_PAUSE_S = 5.0


class Keeper:
    """One process at a time, replaced within a moment when it dies.

    The lock is held around starts and, by the hooks, around the arbiter's forks of web workers, so that no fork happens
    in the middle of a start.
    """

    def __init__(self, settings: Settings, runtime: Runtime):
        self._settings = settings
        self._environment = {**os.environ, **settings.to_environment(), ENV: str(runtime.path)}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._watch, name="background-keeper", daemon=True)
        os.register_at_fork(
            before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._lock.release
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let the process drain, and end it if it does not; only in the process that started it."""
        if os.getpid() != self._owner:
            return
        self._stopping.set()
        self._thread.join()
        if self._pidfd is None:
            return
        for number, grace_s in (
            (signal.SIGTERM, self._settings.graceful_timeout + LAST_WORDS_S),
            (signal.SIGKILL, LAST_WORDS_S),
        ):
            _send(self._pidfd, number)
            if select.select([self._pidfd], [], [], grace_s)[0]:
                return

    def _watch(self) -> None:
        while not exists(self._settings):
            if self._stopping.wait(LOOK_S):
                return
        pause = 0.0
        while not self._stopping.wait(pause):
            started = time.monotonic()
            try:
                self._spawn()
            except OSError as error:
                pause = LONGEST_PAUSE_S
                log.error("cannot start the process for background responses: %s; trying again", error)
                continue
            if not self._has_ended():
                return
            log.error("the process for background responses ended; starting another")
            quick = time.monotonic() - started < QUICK_DEATH_S
            pause = min(LONGEST_PAUSE_S, pause * 2 or LOOK_S) if quick else 0.0

    def _spawn(self) -> None:
        with self._lock:
            if self._stopping.is_set():
                return
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal is the arbiter's to handle
            )
            # The arbiter reaps all its children, so that only the pidfd surely tells of the end.
            self._pidfd = os.pidfd_open(self._process.pid)

    def _has_ended(self) -> bool:
        """Wait for the process's end; False if it is still there when the server stops."""
        while not self._stopping.is_set():
            if self._pidfd is None or select.select([self._pidfd], [], [], LOOK_S)[0]:
                return True
        return False


def _send(pidfd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass  # it ended meanwhile
