"""How long a model may think: counts the tokens of its thinking and finds when, and with what, it has to end.

Shared by all engines, one `ThinkingWatch` per sequence. Knows bytes and counts, neither vocabularies nor grammars.
"""

from __future__ import annotations

from collections.abc import Callable

from localai_flask.generation import ThinkingBudget


class ThinkingWatch:
    """Follows one text; a token is counted if thinking was open before it."""

    def __init__(self, budget: ThinkingBudget, is_told: Callable[[], bool] = lambda: False):
        """`is_told` returns whether thinking is to end at once, however much of the budget is left."""
        self._is_told = is_told
        self._tokens, self._start, self._end = budget.tokens, budget.start.encode(), budget.end.encode()
        self._mark = self._end.strip() or self._end
        """What closes thinking that the model ends by itself, whatever white space it puts around."""
        self._message = budget.message.encode()
        self._is_open = budget.is_open
        self._count = 0
        self._tail = b""

    def feed(self, piece: bytes) -> None:
        """Take the bytes of the next token."""
        self._count += self._is_open
        marker = self._mark if self._is_open else self._start
        tail = self._tail + piece
        if marker and marker in tail:
            self._is_open = not self._is_open
            tail = tail.partition(marker)[2]
        self._tail = tail[-max(len(self._start), len(self._end)) :]

    def rest(self) -> bytes:
        """Return what has to be written now: the end of thinking, less what of it was said just now; mostly nothing."""
        if not self._is_open or (self._count < self._tokens and not self._is_told()):
            return b""
        lengths = range(min(len(self._tail), len(self._end)), 0, -1)
        said = next((n for n in lengths if self._tail.endswith(self._end[:n])), 0)
        # A line break may begin the end as well as another thought.
        return self._end[said:] if self._end[:said].strip() else self._message + self._end[said:]

    def ending(self, tokenize: Callable[[str], list[int]], permits: Callable[[list[int]], bool]) -> list[int]:
        """Return the tokens that have to be written now, unless the answer's form does not permit them; mostly none."""
        rest = self.rest().decode("utf-8", "ignore")
        for end in (rest, rest.rstrip()) if rest else ():  # the form may begin at once
            tokens = tokenize(end)
            if permits(tokens):
                return tokens
        return []
