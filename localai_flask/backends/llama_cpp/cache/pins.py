"""Prefixes that requests have asked to keep for a while: they give way last, up to a share of the room.

Knows tokens and times, but not the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

SHARE = 2
"""What is pinned holds at most one part in `SHARE` of the room, so that pins cannot take all of it from the others."""


@dataclass(frozen=True, slots=True)
class Pin:
    """So many tokens at the beginning of a branch are kept until a time; each use of them renews it."""

    length: int
    seconds: float
    until: float

    @classmethod
    def of(cls, length: int, seconds: float) -> Pin:
        return cls(length, seconds, now() + seconds)

    @property
    def is_over(self) -> bool:
        return self.until <= now()

    def renewed(self) -> Pin | None:
        """Return the pin of a branch that is used again; none, if it was over by then."""
        return None if self.is_over else replace(self, until=now() + self.seconds)

    def cut(self, length: int) -> Pin | None:
        """Return what is left of a pin whose branch was shortened."""
        return replace(self, length=min(self.length, length)) if length else None


class Pinnable(Protocol):
    """A branch, wherever it is."""

    @property
    def pin(self) -> Pin | None: ...


Branch = TypeVar("Branch", bound=Pinnable)


def joined(one: Pin | None, other: Pin | None) -> Pin | None:
    """Return the pin of a branch that takes another's place: as long and as lasting as either."""
    if one is None or one.is_over:
        return other
    if other is None or other.is_over:
        return one
    length, seconds = max(one.length, other.length), max(one.seconds, other.seconds)
    return Pin(length, seconds, max(one.until, other.until))


def find_pinned(branches: Iterable[Branch], fit: Callable[[list[Branch]], bool]) -> list[Branch]:
    """Return the branches that are to be kept: those whose pins last longest, as many as fit together."""
    kept: list[Branch] = []
    lasting = [(branch.pin.until, branch) for branch in branches if branch.pin is not None and not branch.pin.is_over]
    for _, branch in sorted(lasting, key=lambda each: -each[0]):
        if fit([*kept, branch]):
            kept.append(branch)
    return kept


def now() -> float:
    return time.monotonic()
