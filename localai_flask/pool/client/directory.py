"""What one web worker knows of the pool: a copy of the manager's table, kept fresh by one thread.

Only this thread talks to the manager, so a manager that hangs or dies blocks no request that already knows its worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from localai_flask.config.folder.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.pool import protocol, proxy
from localai_flask.pool.protocol import Directory, ModelStatus, News, Wanted, WorkerLoad
from localai_flask.pool.proxy import PoolProxy
from localai_flask.pool.runtime import Runtime

log = logging.getLogger("gunicorn.error")

NO_LOAD = WorkerLoad(0, 0, 0)
REFRESH_S = 0.5
IMPATIENT_REFRESH_S = 0.05
"""How often to look while a request waits for a model."""
RETRY_S = 0.1


class DirectoryThread(threading.Thread):
    """Asks the manager for the models that requests want, and tells them when something changed."""

    def __init__(self, runtime: Runtime):
        super().__init__(name="pool-directory", daemon=True)
        self._runtime = runtime
        self._proxy: PoolProxy | None = None
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._answered, self._changed = threading.Condition(self._lock), threading.Condition(self._lock)
        self._wanted: dict[str, tuple[Wanted, int]] = {}
        self._kept: dict[str, float] = {}
        self._directory = Directory({}, {})
        self._synced_at = -float("inf")
        self.answers = 0
        """How often the manager has answered."""

    @property
    def age_s(self) -> float:
        """Seconds since the manager last answered."""
        return time.monotonic() - self._synced_at

    def statuses(self) -> Mapping[str, ModelStatus]:
        """The table as last seen, by config key."""
        return self._directory.models

    def status(self, key: str) -> ModelStatus | None:
        return self._directory.models.get(key)

    def want(self, config: ModelConfig, look: Look) -> None:
        """Keep asking for a model, seen at that look, until `unwant`; one request waits per call."""
        wanted = protocol.wanted(config, look)
        with self._lock:
            known, waiting = self._wanted.get(config.key, (wanted, 0))
            self._wanted[config.key] = max(known, wanted, key=lambda each: each.look), waiting + 1
        self._wake.set()

    def unwant(self, config: ModelConfig) -> None:
        with self._lock:
            wanted, waiting = self._wanted[config.key]
            if waiting > 1:
                self._wanted[config.key] = wanted, waiting - 1
            else:
                del self._wanted[config.key]

    def keep(self, key: str, seconds: float) -> None:
        """Have a model kept loaded for so long after a request that has just ended; -1: for ever."""
        with self._lock:
            self._kept[key] = seconds
        self._wake.set()

    def load(self, worker_id: str) -> WorkerLoad:
        """Return what a worker had to do when it last said so."""
        return self._directory.loads.get(worker_id, NO_LOAD)

    def await_answer(self, timeout_s: float) -> None:
        """Ask the manager at once, and wait until it has answered once more."""
        with self._lock:
            self._wake.set()
            self._answered.wait(timeout_s)

    def await_change(self, timeout_s: float) -> None:
        """Wait until the manager has answered something new, for which hundreds of requests may wait at once."""
        with self._lock:
            self._changed.wait(timeout_s)

    def run(self) -> None:
        while True:
            try:
                self._sync()
            except Exception:  # the thread's boundary: without it this process would hear of no model any more
                log.exception("what the pool manager says cannot be taken up; asking it anew")
                self._proxy = None
                time.sleep(RETRY_S)
            self._wake.wait(IMPATIENT_REFRESH_S if self._wanted else REFRESH_S)
            if self._wake.is_set():
                self._wake.clear()

    def _sync(self) -> None:
        with self._lock:
            wanted = [each for each, _ in self._wanted.values()]
            kept, self._kept = self._kept, {}
        try:
            if self._proxy is None:
                self._proxy = proxy.connect(self._runtime)
            directory = self._proxy.sync(News(wanted, kept))
        except (OSError, EOFError):
            self._proxy = None
            with self._lock:
                self._kept = kept | self._kept
            time.sleep(RETRY_S)
            return
        with self._lock:
            if directory.models != self._directory.models:
                self._changed.notify_all()
            self._directory = directory
            self._synced_at = time.monotonic()
            self.answers += 1
            self._answered.notify_all()
