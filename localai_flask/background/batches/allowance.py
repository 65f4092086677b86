"""How many lines of batches may be answered side by side: a few while nobody else asks, else one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from localai_flask.errors import Unavailable
from localai_flask.pool.protocol import PoolReport

MOST_AT_ONCE = 4
BESIDE_OTHERS = 1
"""While others wait for answers: one sequence more in an engine's step costs them least, and a batch still ends."""
LOOK_S = 1.0


class Allowance:
    """Shared by all batches of a process."""

    def __init__(self, report: Callable[[], PoolReport], clock: Callable[[], float] = time.monotonic):
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._taken = 0
        self._peaks = [0, 0]
        """The most that were taken since the last look, and before it: the pool's numbers are a second old."""
        self._most = BESIDE_OTHERS
        self._looked_at = -LOOK_S

    def try_take(self) -> bool:
        """Take room for one line, if there is any."""
        with self._lock:
            self._look()
            if self._taken >= self._most:
                return False
            self._taken += 1
            self._peaks[0] = max(self._peaks[0], self._taken)
            return True

    def give_back(self) -> None:
        with self._lock:
            self._taken -= 1

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        try:
            models = self._report().models
        except Unavailable:
            self._most = BESIDE_OTHERS
            return
        asked = sum(worker.running + worker.waiting for model in models for worker in model.workers)
        self._most = BESIDE_OTHERS if asked > max(self._peaks) else MOST_AT_ONCE
        self._peaks = [self._taken, self._peaks[0]]
