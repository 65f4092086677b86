"""Whether threads spin or sleep while they wait for each other: the faster way, compared again as steps are computed.

Spinning threads hand over sooner, but hold the cores which the thread they wait for may need. So one way wins on an
idle machine and loses by far on a busy one. Owns the choice; knows durations only.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Hashable

STEPS, LONGEST_TRIAL_S = 6, 1.0
"""How many steps of one kind are timed in one way, and for how long at most in the other: the slower way is to cost
long steps, of prompts, little.
"""
SOON_S, LATE_S = 2.0, 16.0
"""Time from one comparison to the next: at first and after a change, and at most; it doubles while nothing changes."""
WORTH_IT = 0.95
"""The other way is taken if its steps take at most this share of the time."""
FAR_OFF = 2
"""A step that takes this many times as long ends a comparison at once; steps that do begin one."""


class WaitChoice:
    """Chooses for each next step; `observe` each one."""

    def __init__(self, *, spins: bool, clock: Callable[[], float] = time.monotonic):
        self.spins = self._chosen = spins
        """Whether threads are to spin in the next step."""
        self._clock = clock
        self._kind: Hashable = None
        self._usual: deque[float] = deque(maxlen=STEPS)
        self._tried: list[float] = []
        self._known_s: dict[Hashable, float] = {}
        """What a step of a kind took when the ways were last compared."""
        self._pause_s = SOON_S
        self._next = clock() + SOON_S

    def observe(self, kind: Hashable, seconds: float) -> None:
        """Learn from a step; only those of one kind, such as one number of streams, can be compared."""
        if kind != self._kind:
            self._kind = kind
            self._usual.clear()
            if self._is_trying:
                self._end(self._chosen)
        elif self._is_trying:
            self._tried.append(seconds)
            self._judge()
        else:
            self._usual.append(seconds)
            if len(self._usual) == STEPS and self._is_due():
                self.spins = not self._chosen

    @property
    def _is_trying(self) -> bool:
        return self.spins != self._chosen

    def _is_due(self) -> bool:
        usual_s = statistics.median(self._usual)
        if usual_s > FAR_OFF * self._known_s.setdefault(self._kind, usual_s):
            self._pause_s = SOON_S
            return True
        return self._clock() >= self._next

    def _judge(self) -> None:
        usual_s = statistics.median(self._usual)
        if self._tried[-1] > FAR_OFF * usual_s:
            self._know(usual_s, self._chosen)
        elif len(self._tried) == STEPS or sum(self._tried) >= LONGEST_TRIAL_S:
            tried_s = statistics.median(self._tried)
            is_better = tried_s <= WORTH_IT * usual_s
            self._know(*((tried_s, self.spins) if is_better else (usual_s, self._chosen)))

    def _know(self, seconds: float, spins: bool) -> None:
        self._known_s[self._kind] = seconds
        self._end(spins)

    def _end(self, spins: bool) -> None:
        """End a comparison with the way that is chosen."""
        self._pause_s = SOON_S if spins != self._chosen else min(2 * self._pause_s, LATE_S)
        self.spins = self._chosen = spins
        self._usual.clear()
        self._tried.clear()
        self._next = self._clock() + self._pause_s
