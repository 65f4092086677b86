"""Places that callers share: one caller never has all of them, and those who wait come by turns."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Shares(Generic[Item]):
    """Counts `most` places, of which each caller has `share` at most, and has those wait for whom there is none."""

    def __init__(self, most: int, share: int):
        self._most = most
        self._share = share
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[float, Item]]] = {}
        """Until when who waits, by caller; the callers in the order in which they are next."""

    def try_take(self, caller: str) -> bool:
        """Take a place for a caller, if there is one and nobody of its own waits for it."""
        if caller in self._waiting or not self._has_room(caller):
            return False
        self._taken[caller] += 1
        return True

    def wait(self, caller: str, item: Item, deadline: float) -> None:
        self._waiting.setdefault(caller, deque()).append((deadline, item))

    def withdraw(self, caller: str, item: Item) -> None:
        """Wait no longer with what was given to `wait`."""
        line = self._waiting[caller]
        line.remove(next(each for each in line if each[1] is item))
        if not line:
            del self._waiting[caller]

    def give_back(self, caller: str) -> None:
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]  # there may be many keys

    def take_next(self) -> Iterator[Item]:
        """Take places for those who wait, one for each caller in turn, as long as there are any."""
        while (caller := next(filter(self._has_room, self._waiting), None)) is not None:
            self._taken[caller] += 1
            yield self._pop(caller)

    def expire(self, now: float) -> Iterator[Item]:
        """Forget those who have waited for too long."""
        for caller in list(self._waiting):
            while caller in self._waiting and self._waiting[caller][0][0] <= now:
                yield self._pop(caller)

    def _has_room(self, caller: str) -> bool:
        return self._taken.total() < self._most and self._taken[caller] < self._share

    def _pop(self, caller: str) -> Item:
        line = self._waiting.pop(caller)
        _, item = line.popleft()
        if line:
            self._waiting[caller] = line  # behind the others
        return item
