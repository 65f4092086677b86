"""A model worker's thread that keeps the pool manager informed, and finds the next one when it dies."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from localai_flask.errors import ErrorInfo
from localai_flask.pool.protocol import Registration, Report, ReportAnswer
from localai_flask.pool.proxy import PoolProxy, connect
from localai_flask.pool.runtime import Runtime

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
LOADING_HEARTBEAT_S = 0.1
RETRY_S = 0.25
LONGEST_ABSENCE_S = 10.0


class ManagerLink(threading.Thread):
    """Registers when the model is ready, and with a manager that does not know it; in between it sends heartbeats."""

    def __init__(
        self,
        runtime: Runtime,
        describe: Callable[[], Registration],
        report: Callable[[], Report],
        hear: Callable[[ReportAnswer], None],
    ):
        super().__init__(name="manager-link", daemon=True)
        self._runtime = runtime
        self._describe = describe
        self._report = report
        self._hear = hear
        self._proxy: PoolProxy | None = None
        self._registered = False
        self._absent_since: float | None = None
        self._lock = threading.Lock()

    @property
    def lost(self) -> bool:
        """Whether no manager has answered for so long that the worker has to leave."""
        since = self._absent_since
        return since is not None and time.monotonic() - since > LONGEST_ABSENCE_S

    def run(self) -> None:
        while True:
            with self._lock:
                answered = self._tell()
            if not answered:
                time.sleep(RETRY_S)
            else:
                time.sleep(HEARTBEAT_S if self._registered else LOADING_HEARTBEAT_S)

    def fail(self, error: ErrorInfo) -> None:
        """Report why the model could not be loaded; the manager guesses from the exit code if this fails."""
        with self._lock:
            try:
                self._connected().fail(self._report().worker_id, error)
            except (OSError, EOFError):
                log.warning("the pool manager does not answer; it is not told why the model failed")

    def _tell(self) -> bool:
        try:
            proxy = self._connected()
            answer = proxy.report(self._report())
            self._hear(answer)
            registration = self._describe()
            is_loaded = registration.info is not None
            if not answer.known or (is_loaded and not self._registered):
                proxy.register(registration)
                self._registered = is_loaded
        except (OSError, EOFError):
            self._proxy, self._registered = None, False
            self._absent_since = self._absent_since or time.monotonic()
            return False
        self._absent_since = None
        return True

    def _connected(self) -> PoolProxy:
        if self._proxy is None:
            self._proxy = connect(self._runtime)
        return self._proxy
