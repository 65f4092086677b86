"""Many texts looked for at once in one that comes in pieces, at a cost that does not grow with their number.

The automaton of Aho and Corasick (1975), of which only the states are made that are reached: requests come with tens of
thousands of characters to look for, and engines wait while it is made. One for each sequence; knows no tokens.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

State = int
START: State = 0
"""The state in which nothing that is looked for has begun."""


class TextAutomaton:
    """A state stands for the longest end of what was read that some text begins with; `depths` is how long that is."""

    def __init__(self, texts: Iterable[str]):
        self.texts = sorted({text for text in texts if text})
        self.depths = [0]
        self.found: list[str | None] = [None]
        """The longest text that ends in a state."""
        self._ranges = [(0, len(self.texts))]
        """Which of the texts begin with what a state stands for."""
        self._next: list[dict[str, State]] = [{}]
        self._shorter = [START]
        """The state that stands for the next shorter such end."""

    def step(self, state: State, character: str) -> State:
        """Return the state after one more character."""
        longer: list[tuple[State, int, int]] = []
        while (to := self._next[state].get(character)) is None:
            begin, end = self._narrowed(state, character)
            if begin < end:
                longer.append((state, begin, end))
            if state == START:
                to = START
                break
            state = self._shorter[state]
        for state, begin, end in reversed(longer):
            to = self._next[state][character] = self._make(state, begin, end, to)
        return to

    def find(self, state: State, piece: str) -> State | None:
        """Return the state after a piece; None if one of the texts is complete in it."""
        for character in piece:
            state = self.step(state, character)
            if self.found[state] is not None:
                return None
        return state

    def _narrowed(self, state: State, character: str) -> tuple[int, int]:
        depth, (begin, end) = self.depths[state], self._ranges[state]

        def following(text: str) -> str:
            return text[depth : depth + 1]

        begin = bisect_left(self.texts, character, begin, end, key=following)
        return begin, bisect_right(self.texts, character, begin, end, key=following)

    def _make(self, state: State, begin: int, end: int, shorter: State) -> State:
        depth, first = self.depths[state] + 1, self.texts[begin]
        self.depths.append(depth)
        self.found.append(first if len(first) == depth else self.found[shorter])
        self._ranges.append((begin, end))
        self._next.append({})
        self._shorter.append(shorter)
        return len(self._next) - 1
