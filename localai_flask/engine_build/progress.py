"""How far a build is, on one line of a terminal or on a line now and then."""

from __future__ import annotations

import re
import sys
import time

LINE_S = 15.0
"""How often a line is written where no terminal can show progress in place."""
ENOUGH = 0.03
"""The part of a build from which the rest is estimated."""
STEP = re.compile(r"\s*\[\s*(\d+)(?:/(\d+)\]|%\])")
"""A step of Ninja, `[12/345]`, or of make, `[ 12%]`."""


class Progress:
    """Learns from the lines of a build; moments are those of `time.monotonic()`."""

    def __init__(self, expected_s: float, now: float | None = None):
        self.begun = self._written = time.monotonic() if now is None else now
        self.expected_s = expected_s
        self.done = 0.0
        self._first: tuple[float, float] | None = None
        """When the first step was seen, and how far it was: what is before says nothing about the pace."""
        self._in_place = sys.stderr.isatty()

    def read(self, line: str, now: float) -> None:
        if step := STEP.match(line):
            self.done = int(step[1]) / int(step[2] or 100)
            self._first = self._first or (now, self.done)

    def left_s(self, now: float) -> float:
        """Estimate how long the build will still take: by its own pace, once that is known."""
        since, start = self._first or (now, 0.0)
        if self.done - start < ENOUGH:
            return max(self.expected_s - (now - self.begun), 0.0)
        return (now - since) / (self.done - start) * (1.0 - self.done)

    def describe(self, now: float) -> str:
        if self._first is None:
            return f"Preparing llama.cpp: {_minutes(now - self.begun)}"
        return f"Compiling llama.cpp: {self.done:.0%}, about {_minutes(self.left_s(now))} left"

    def show(self, now: float) -> None:
        if self._in_place:
            print(f"\r{self.describe(now)}\x1b[K", end="", file=sys.stderr, flush=True)
        elif now - self._written >= LINE_S:
            self._written = now
            print(self.describe(now), file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the terminal's line empty."""
        if self._in_place:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
