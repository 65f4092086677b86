"""Guessing ahead without a second model: what followed the last time that these tokens stood here.

Knows arrays of tokens only. The names are those that llama.cpp gives its ways of looking up n-grams.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence

MOST_VALUES = 4
"""How many of the latest continuations of an n-gram are counted."""
MOST_ENTRIES = 1 << 20
MOST_LEARNED = 1024
"""How many tokens of a prompt are learned in one step, which takes about as long as a token of a small model."""


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
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        """What was learned before the young ones, and goes when these are as many as may be."""
        self._learned: WeakKeyDictionary[Sequence, int] = WeakKeyDictionary()

    def propose(self, wanted: dict[Sequence, int]) -> None:
        """Set the guesses of the sequences, for each no more than `wanted` says."""
        for sequence, count in wanted.items():
            history = sequence.known_tokens()
            self._learn(sequence, history)
            sequence.draft = self._guess(history[-self.size_n :], count)

    def _learn(self, sequence: Sequence, history: Tokens) -> None:
        """Learn what followed in a sequence since the last time, a part of a long prompt in each step."""
        size, width = self.size_n, self.size_n * history.itemsize
        begin = max(self._learned.get(sequence, 0), size)
        end = min(len(history), begin + MOST_LEARNED)
        tokens = history[begin - size : end]
        raw, following = tokens.tobytes(), tokens[size:].tolist()
        offsets = range(0, len(following) * history.itemsize, history.itemsize)
        learned = ((raw[at : at + width], token) for at, token in zip(offsets, following, strict=True))
        self._young.update((before, token) for before, token in learned if token >= 0)  # those below stand for images
        self._learned[sequence] = end
        if len(self._young) > MOST_ENTRIES // 2:
            self._old, self._young = self._young, {}

    def _guess(self, last: Tokens, count: int) -> list[int]:
        draft: list[int] = []
        tokens = last.tobytes()
        while len(draft) < count:
            token = self._young.get(tokens)
            if token is None:
                token = self._old.get(tokens)
            if token is None:
                break
            draft.append(token)
            tokens = tokens[last.itemsize :] + token.to_bytes(last.itemsize, sys.byteorder)
        return draft if len(draft) >= min(self.least, count) else []
