"""Whose adapters a step computes with, as the library takes one set of them for a whole batch.

Knows scopes and times only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

TURN_S = 0.04
"""How long a turn lasts at least, as the library plans its memory anew behind each change, in some milliseconds."""


class Turns:
    """Grants each scope that has something to compute the same time, one after the other."""

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._current = ""
        self._began = 0.0
        self._ended: dict[str, float] = {}
        """When each scope had its last turn."""

    def choose(self, scopes: Collection[str]) -> str:
        """Return whose turn it is among those that have something to compute now."""
        now = self._now()
        if self._current in scopes and (len(scopes) == 1 or now - self._began < TURN_S):
            return self._current
        self._ended = {scope: ended for scope, ended in self._ended.items() if scope in scopes}
        self._ended[self._current] = now
        waiting = sorted(scope for scope in scopes if scope != self._current)
        self._current, self._began = min(waiting, key=lambda scope: self._ended.get(scope, 0.0)), now
        return self._current
