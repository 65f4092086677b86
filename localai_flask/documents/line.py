"""Who has a PDF read next, where more wait than are read at once: nobody keeps all the others waiting."""

from __future__ import annotations

import threading
from collections import Counter


class Turn:
    """A caller's wait for a place, and then the place."""

    def __init__(self, caller: str):
        self.caller = caller
        self.has_come = threading.Event()


class Line:
    """A few places, of which one caller has some at most.

    Of those who wait, whoever has the fewest places is next, then whoever was called the longest time ago, and then who
    came first.
    """

    def __init__(self, places: int, most_of_one: int):
        self._places, self._most_of_one = places, most_of_one
        self._lock = threading.Lock()
        self._waiting: list[Turn] = []
        self._held: Counter[str] = Counter()
        self._calls = 0
        self._called: dict[str, int] = {}
        """At which call each one had its last place, of those who are here."""

    def join(self, caller: str) -> Turn:
        turn = Turn(caller)
        with self._lock:
            self._waiting.append(turn)
            self._call()
        return turn

    def leave(self, turn: Turn) -> None:
        """Give the place back, or wait for it no longer."""
        with self._lock:
            if turn.has_come.is_set():
                self._held[turn.caller] -= 1
            else:
                self._waiting.remove(turn)
            if not self._held[turn.caller]:
                del self._held[turn.caller]
                if all(each.caller != turn.caller for each in self._waiting):
                    self._called.pop(turn.caller, None)
            self._call()

    def _call(self) -> None:
        while self._held.total() < self._places:
            may = [turn for turn in self._waiting if self._held[turn.caller] < self._most_of_one]
            if not may:
                return
            turn = min(may, key=lambda turn: (self._held[turn.caller], self._called.get(turn.caller, 0)))
            self._waiting.remove(turn)
            self._held[turn.caller] += 1
            self._calls += 1
            self._called[turn.caller] = self._calls
            turn.has_come.set()
