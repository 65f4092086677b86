"""Guessing ahead without a second model: what followed the last time that these tokens stood here.

Knows arrays of tokens only. The names are those that llama.cpp gives its ways of looking up n-grams.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence

MOST_VALUES = 4
"""How many of the latest continuations of an n-gram are counted."""
MOST_ENTRIES = 1 << 20


@dataclass(frozen=True)
class HistoryLookup:
    """Continues as the sequence itself did behind its last `size_n` tokens, if it has said these `min_hits` times.

    That is the latest continuation (ngram-simple, ngram-map-k); or, if it `votes`, the most frequent of the latest
    ones, if it is more frequent than any other (ngram-map-k4v).
    """

    size_n: int
    most: int
    min_hits: int = 1
    votes: bool = False

    def propose(self, wanted: dict[Sequence, int]) -> None:
        """Set the guesses of the sequences, for each no more than `wanted` says."""
        for sequence, count in wanted.items():
            sequence.draft = self.guess(sequence.known_tokens(), count)

    def guess(self, history: Tokens, count: int) -> list[int]:
        """Return up to `count` tokens that may follow."""
        ends = self._find(history)
        if len(ends) < self.min_hits:
            return []
        if not self.votes:
            return _following(history, int(ends[-1]), count)
        guesses = [tuple(_following(history, int(end), count)) for end in ends[-MOST_VALUES:]]
        (best, votes), *others = Counter(reversed(guesses)).most_common(2)
        return [] if others and others[0][1] == votes else list(best)

    def _find(self, history: Tokens) -> Tokens:
        """Return the indices behind the earlier places where the last tokens stand."""
        size = self.size_n
        if len(history) <= size:
            return np.empty(0, np.int32)
        ends = np.flatnonzero(history[size - 1 : -1] == history[-1]).astype(np.int32) + size
        for back in range(2, size + 1):
            if not len(ends):
                break
            ends = ends[history[ends - back] == history[-back]]
        return ends


def _following(history: Tokens, begin: int, count: int) -> list[int]:
    """Return the tokens from an index on; at the end they repeat from there, as in a loop."""
    period: list[int] = history[begin:].tolist()
    return (period * (count // len(period) + 1))[:count]


class PoolLookup:
    """Continues as any sequence of this model did behind the same `size_n` tokens, one token after the other.

    Guesses of fewer than `least` tokens are not made (ngram-mod).
    """

    def __init__(self, size_n: int, most: int, least: int):
        self.size_n, self.most, self.least = size_n, most, least
        self._next: dict[tuple[int, ...], int] = {}
        self._learned: WeakKeyDictionary[Sequence, int] = WeakKeyDictionary()

    def propose(self, wanted: dict[Sequence, int]) -> None:
        """Set the guesses of the sequences, for each no more than `wanted` says."""
        for sequence, count in wanted.items():
            history = [*sequence.job.prompt_tokens, *sequence.job.output_tokens]
            self._learn(sequence, history)
            sequence.draft = self._guess(history[-self.size_n :], count)

    def _learn(self, sequence: Sequence, history: list[int]) -> None:
        size = self.size_n
        for index in range(max(self._learned.get(sequence, 0), size), len(history)):
            self._next[tuple(history[index - size : index])] = history[index]
        self._learned[sequence] = len(history)
        while len(self._next) > MOST_ENTRIES:
            del self._next[next(iter(self._next))]

    def _guess(self, last: list[int], count: int) -> list[int]:
        tokens = list(last)
        while len(tokens) < len(last) + count:
            token = self._next.get(tuple(tokens[-self.size_n :]))
            if token is None:
                break
            tokens.append(token)
        draft = tokens[len(last) :]
        return draft if len(draft) >= min(self.least, count) else []
