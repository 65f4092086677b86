"""When to try a failed model again."""

from __future__ import annotations

from collections import deque

LONGEST_COOLDOWN_S = 300.0
CRASH_WINDOW_S = 600.0
CRASHES_ALLOWED = 3
MOST_CRASHES = 16


class Backoff:
    """Count failures: each failed load doubles the wait; crashes once loaded are forgiven unless they come often."""

    def __init__(self) -> None:
        self.failures = 0
        self.retry_at = 0.0
        self._crashes: deque[float] = deque(maxlen=MOST_CRASHES)

    def may_try(self, now: float) -> bool:
        return now >= self.retry_at

    def crashes_often(self, now: float) -> bool:
        return self._surplus_crashes(now) > 0

    def failed(self, cooldown_s: float, now: float) -> None:
        """Wait longer each time: a load that succeeds makes up for failed ones, and not for crashes behind it."""
        self.failures = max(self.failures + 1, self._surplus_crashes(now))
        self.retry_at = now + min(LONGEST_COOLDOWN_S, cooldown_s * 2 ** (self.failures - 1))

    def crashed(self, now: float) -> None:
        self._crashes.append(now)

    def succeeded(self) -> None:
        self.failures, self.retry_at = 0, 0.0

    def _surplus_crashes(self, now: float) -> int:
        begin = now - CRASH_WINDOW_S
        return max(0, sum(moment > begin for moment in self._crashes) - CRASHES_ALLOWED)
