"""How far a download is: bytes, their total, their rate, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

REPORT_S = 0.1
"""Seconds between two reports at least."""


class Progress(NamedTuple):
    """One look at a download; `rate` is in bytes per second."""

    done: int
    total: int | None
    rate: float
    file: str = ""
    """Which of several files is coming, by its path in the models folder; the numbers are those of all of them."""

    @property
    def remaining_s(self) -> float | None:
        return remaining_s(self.done, self.total, self.rate)

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    def __str__(self) -> str:
        """Return it for people, as in "12 of 93 MB, 8.1 MB/s, 10 s left"."""
        amount = megabytes(self.done) if self.total is None else f"{self.done / 1e6:.0f} of {megabytes(self.total)}"
        rate = f", {self.rate / 1e6:.1f} MB/s" if self.rate else ""
        return amount + rate + (f", {self.remaining_s:.0f} s left" if self.remaining_s is not None else "")


Report = Callable[[Progress], None]


class Meter:
    """Counts the bytes of one download and reports them, but not more often than anybody could read."""

    def __init__(self, report: Report):
        self._report = report
        self._begun = self._told = time.monotonic()
        self._first = 0

    def begin(self, done: int) -> None:
        """Measure the rate from here on: `done` bytes were there before."""
        self._first, self._begun = done, time.monotonic()

    def count(self, done: int, total: int | None, *, always: bool = False) -> None:
        now = time.monotonic()
        if not always and now - self._told < REPORT_S:
            return
        self._told = now
        elapsed = now - self._begun
        self._report(Progress(done, total, (done - self._first) / elapsed if elapsed > 0 else 0.0))


def remaining_s(done: int, total: int | None, rate: float) -> float | None:
    """Return the seconds that are left at a rate; None where that is unknown."""
    if total is None or not rate:
        return None
    return max(0, total - done) / rate


def megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else megabytes(count)
