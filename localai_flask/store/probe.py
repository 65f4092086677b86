"""Whether the database answers, for who cannot wait until one that is gone has been given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from localai_flask.errors import ApiError, Unavailable
from localai_flask.store.opened import Store

FRESH_S = 1.0
"""How long an answer is good."""


class Probe:
    """Asks the database in a thread, one question at a time: a host that never answers costs no second thread."""

    def __init__(self, open_store: Callable[[], Store]):
        self._open_store = open_store
        self._lock = threading.Lock()
        self._question: _Question | None = None

    def check(self, timeout_s: float) -> None:
        """Raise `Unavailable` unless the database answers within this time, or has done so just now."""
        with self._lock:
            if self._question is None or self._question.is_outdated:
                self._question = _Question(self._open_store)
                self._question.start()
            question = self._question
        if not question.answered.wait(timeout_s):
            raise Unavailable("The database of responses does not answer in time.")
        if question.error:
            raise Unavailable(question.error)


class _Question(threading.Thread):
    def __init__(self, open_store: Callable[[], Store]):
        super().__init__(name="store-probe", daemon=True)
        self._open_store = open_store
        self._begun = time.monotonic()
        self.answered = threading.Event()
        self.error = "The database of responses could not be asked; the server's log says why."

    @property
    def is_outdated(self) -> bool:
        return self.answered.is_set() and time.monotonic() - self._begun > FRESH_S

    def run(self) -> None:
        try:
            self._open_store().database.ping()
        except ApiError as error:
            self.error = str(error)
        else:
            self.error = ""
        finally:
            self.answered.set()
