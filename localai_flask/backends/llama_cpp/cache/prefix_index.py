"""Sequences of tokens in order, so that those which begin as another one does are found without a look at each.

In the order of their tokens, what shares most with a prompt stands next to the place where that would stand.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from localai_flask.backends.llama_cpp.cache.shifting import common_prefix
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens

Holder = TypeVar("Holder")


class PrefixIndex(Generic[Holder]):
    """Finds holders by the beginning of their tokens, which do not change while they stand here."""

    def __init__(self, tokens_of: Callable[[Holder], Tokens]) -> None:
        self._tokens_of = tokens_of
        self._keys: list[bytes] = []
        self._holders: list[Holder] = []
        """In the order of the keys."""

    def __len__(self) -> int:
        return len(self._holders)

    def add(self, holder: Holder) -> None:
        key = _key(self._tokens_of(holder))
        place = bisect.bisect_right(self._keys, key)
        self._keys.insert(place, key)
        self._holders.insert(place, holder)

    def remove(self, holder: Holder) -> None:
        place = bisect.bisect_left(self._keys, _key(self._tokens_of(holder)))
        while self._holders[place] is not holder:
            place += 1
        del self._keys[place], self._holders[place]

    def nearest(self, tokens: Tokens) -> Iterator[tuple[Holder, int]]:
        """Go through those that begin as these tokens do, with the count of tokens in common, most first."""
        above = bisect.bisect_left(self._keys, _key(tokens))
        below = above - 1
        ahead, behind = self._common(above, tokens), self._common(below, tokens)
        while ahead or behind:
            if ahead >= behind:
                yield self._holders[above], ahead
                above += 1
                ahead = self._common(above, tokens)
            else:
                yield self._holders[below], behind
                below -= 1
                behind = self._common(below, tokens)

    def beginning_with(self, tokens: Tokens) -> Iterator[Holder]:
        """Go through those whose first tokens are these."""
        key = _key(tokens)
        for place in range(bisect.bisect_left(self._keys, key), len(self._keys)):
            if not self._keys[place].startswith(key):
                return
            yield self._holders[place]

    def beginnings_of(self, tokens: Tokens) -> list[Holder]:
        """Return those whose tokens all stand at the beginning of these, the longest first."""
        found: list[Holder] = []
        key, above = _key(tokens), len(self._keys)
        while above := bisect.bisect_right(self._keys, key, hi=above):
            last = self._keys[above - 1]
            if key.startswith(last):
                found.append(self._holders[above - 1])
                above, key = above - 1, last
            else:  # a beginning of `tokens` stands before this one only if it is one of this one's as well
                key = key[: 4 * self._common(above - 1, tokens)]
        return found

    def _common(self, place: int, tokens: Tokens) -> int:
        if not 0 <= place < len(self._holders):
            return 0
        return common_prefix(self._tokens_of(self._holders[place]), tokens)


def _key(tokens: Tokens) -> bytes:
    """Return bytes that are in the order of the tokens, and begin alike where these do."""
    return tokens.astype(">i4").tobytes()
