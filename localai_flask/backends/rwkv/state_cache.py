"""What the model remembers of texts that were read, for those that begin alike; the ones used last are kept.

A state is that of one text to its last token: unlike a cache of tokens it serves no shorter one.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch

State = list[torch.Tensor]
Key = bytes


class Remembered(NamedTuple):
    """The state behind a text, and the logits of the token that comes next."""

    length: int
    state: State
    logits: torch.Tensor

    @property
    def nbytes(self) -> int:
        return sum(int(tensor.nbytes) for tensor in (self.logits, *self.state))


NOTHING = Remembered(0, [], torch.empty(0))


class StateCache:
    """States by the tokens that led to them, up to a number of bytes."""

    def __init__(self, most_bytes: int):
        self._most_bytes, self.bytes = most_bytes, 0
        self._kept: OrderedDict[Key, Remembered] = OrderedDict()

    def find(self, tokens: Sequence[int]) -> Remembered:
        """Return what is kept of the longest beginning of a text; `NOTHING` if there is none."""
        text = _key(tokens)
        for length in sorted({each.length for each in self._kept.values() if each.length <= len(tokens)}, reverse=True):
            key = text[: length * _WIDTH]
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        return NOTHING

    def keep(self, tokens: Sequence[int], state: State, logits: torch.Tensor) -> None:
        """Keep the state behind a text; the library writes into neither, and makes new ones."""
        made = Remembered(len(tokens), list(state), logits)
        if made.nbytes > self._most_bytes:
            return
        key = _key(tokens)
        self._drop(key)
        self._kept[key] = made
        self.bytes += made.nbytes
        while self.bytes > self._most_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        if (gone := self._kept.pop(key, None)) is not None:
            self.bytes -= gone.nbytes


def _key(tokens: Sequence[int]) -> Key:
    return array("I", tokens).tobytes()


_WIDTH = array("I").itemsize
