"""Who has a PDF read next, where more wait than are read at once: nobody keeps all the others waiting."""

from __future__ import annotations

import math
import threading

from localai_flask.keys.shares import Shares


class Turn:
    """A caller's wait for a place, and then the place."""

    def __init__(self, caller: str):
        self.caller = caller
        self.has_come = threading.Event()


class Line:
    """A few places, of which one caller has some at most; for any thread."""

    def __init__(self, places: int, most_of_one: int):
        self._shares: Shares[Turn] = Shares(places, most_of_one)
        self._lock = threading.Lock()

    def join(self, caller: str) -> Turn:
        turn = Turn(caller)
        with self._lock:
            if self._shares.try_take(caller):
                turn.has_come.set()
            else:
                self._shares.wait(caller, turn, math.inf)
        return turn

    def leave(self, turn: Turn) -> None:
        """Return the place, or wait for it no longer."""
        with self._lock:
            if turn.has_come.is_set():
                self._shares.give_back(turn.caller)
            else:
                self._shares.withdraw(turn.caller, turn)
            for following in self._shares.take_next():
                following.has_come.set()
