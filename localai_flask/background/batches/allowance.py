"""How many lines of batches may be answered side by side: a few while nobody else asks, and none beside others.

One more sequence in an engine's steps, and more so its prompt, is felt in everybody's stream.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MOST_AT_ONCE = 4
STARVED_S = 60.0
"""After so long without a line one is answered beside others, so that a batch ends under any load."""
LOOK_S = 0.1


class Allowance:
    """Shared by all batches of a process."""

    def __init__(self, count_others: Callable[[], float], clock: Callable[[], float] = time.monotonic):
        """`count_others` counts the requests of all others that work on a model, or wait for it."""
        self._count_others = count_others
        self._clock = clock
        self._lock = threading.Lock()
        self._taken = 0
        self._begun_at = clock()
        self._others = 0.0
        self._looked_at = -LOOK_S

    def try_take(self) -> bool:
        """Take room for one line, if there is any."""
        with self._lock:
            is_starved = not self._taken and self._clock() - self._begun_at >= STARVED_S
            if self._taken >= MOST_AT_ONCE or (self._are_others() and not is_starved):
                return False
            self._taken += 1
            self._begun_at = self._clock()
            return True

    def give_back(self) -> None:
        with self._lock:
            self._taken -= 1

    @property
    def are_others(self) -> bool:
        """Whether others ask now."""
        with self._lock:
            return self._are_others()

    def _are_others(self) -> bool:
        now = self._clock()
        if now - self._looked_at >= LOOK_S:
            self._looked_at, self._others = now, self._count_others()
        return self._others > 0
