"""The tokens among which a sampler chooses, as llama.cpp's samplers want them, and numpy's help to make them few.

A chain over every token of a large vocabulary costs several times what numpy needs to find the ones that have a chance.
Knows logits and numbers, no parameters and no sequences.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from localai_flask.backends.llama_cpp.model.library import lib

Row = npt.NDArray[np.float32]
"""The logits of the whole vocabulary."""
Ids = npt.NDArray[np.int64]

BLOCKS = 1024
"""Tokens whose ids are equal modulo this make a block; the blocks' highest logits tell where the highest of all lie."""
FARTHEST = 1e4
"""A distance between logits at which no chance is left; unlike infinity, it times nothing is nothing."""
_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
_PENALTIES = np.where(_BITS, 0, -np.inf).astype(np.float32)
"""For a byte of eight tokens' bits, what to add to their logits: a third of the time that writing by a mask takes."""


class Candidates:
    """One `llama_token_data_array`, and memory for numbers about each token; used by one sampler at a time.

    There is one for each model, so that nothing of the vocabulary's size is allocated for a token.
    """

    def __init__(self, size: int):
        self.size = size
        self.blocks = BLOCKS if size >= 4 * BLOCKS else 0
        self._data = np.empty(size, _TOKEN_DATA)
        self._id, self._logit = self._data["id"], self._data["logit"]
        self._first = ctypes.cast(self._data.ctypes.data, lib.llama_token_data_p)
        self._array = lib.llama_token_data_array()
        self._reference = ctypes.byref(self._array)
        self._all = np.arange(size)
        self._is_chosen = np.empty(size, np.bool_)
        self._numbers = np.empty(size, np.float32)
        self._masked = np.empty(size, np.float32)
        self._distances = np.empty(size, np.float32)
        self._penalty = np.empty((-(-size // 8), 8), np.float32)
        self._of_blocks = np.empty(self.blocks, np.float32)
        self._body = size // max(self.blocks, 1) * self.blocks

    def put(self, ids: Ids, logits: Row, *, is_sorted: bool = False) -> None:
        """Take these tokens; sorted means by falling logits."""
        count = len(ids)
        self._id[:count] = ids
        self._logit[:count] = logits
        array = self._array
        array.data, array.size, array.selected, array.sorted = self._first, count, -1, is_sorted

    @property
    def count(self) -> int:
        """How many tokens were put here, or are left."""
        size: int = self._array.size
        return size

    def apply(self, chain: Any) -> Row:
        """Run a chain that neither moves nor drops tokens; give their logits after it, in memory that is used again."""
        lib.llama_sampler_apply(chain, self._reference)
        logits: Row = self._logit[: self._array.size]
        return logits

    def choose(self, chain: Any) -> int:
        """Run a chain that ends with a choice and give it."""
        array = self._array
        lib.llama_sampler_apply(chain, self._reference)
        token: int = array.data[array.selected].id
        return token

    def at_least(self, row: Row, threshold: float) -> Ids:
        """Return the tokens with no lower logit, by rising ids; those that are impossible never belong to them."""
        if threshold > -np.inf:
            np.greater_equal(row, threshold, out=self._is_chosen)
        else:
            np.greater(row, threshold, out=self._is_chosen)
        ids: Ids = self._is_chosen.nonzero()[0]  # in half of `np.flatnonzero`'s time, which matters once per token
        return ids

    def threshold(self, row: Row, count: int) -> float:
        """Return a logit that at least `count` tokens reach, and as a rule few more; minus infinity for many.

        As many blocks as `count` have a token that reaches the `count`-th highest of the blocks' highest logits.
        """
        if 2 * count > self.blocks:
            return -np.inf
        highest = np.maximum.reduce(self._in_blocks(row), axis=0, out=self._of_blocks)
        return float(np.partition(highest, self.blocks - count)[self.blocks - count])

    def mass(self, row: Row, highest: float, distance: float) -> tuple[float, float]:
        """Return the sum of the weights of the tokens this near to the highest logit, and the most that others have."""
        np.greater_equal(row, highest - distance, out=self._is_chosen)
        count = np.count_nonzero(self._is_chosen)
        if 4 * count > self.size:
            return float(self.weights(row, highest).sum(dtype=np.float64)), 0.0
        near = np.exp(row[np.flatnonzero(self._is_chosen)] - highest)
        return float(near.sum(dtype=np.float64)), (self.size - count) * math.exp(-distance)

    def moments(self, row: Row, highest: float) -> tuple[float, float]:
        """Return the sum of all weights, and the weighted mean of the logits' distances from the highest, below 0."""
        weights = self.weights(row, highest)
        total = float(weights.sum(dtype=np.float64))
        np.subtract(row, highest, out=self._distances)
        np.maximum(self._distances, -FARTHEST, out=self._distances)
        return total, float(np.dot(weights, self._distances)) / total

    def spread(self, row: Row) -> float:
        """Return the standard deviation of the logits of the tokens that are possible."""
        numbers, impossible = self._numbers, np.flatnonzero(np.isneginf(row, out=self._is_chosen))
        count = max(self.size - len(impossible), 1)
        numbers[:] = row
        numbers[impossible] = 0
        np.subtract(numbers, numbers.sum(dtype=np.float64) / count, out=numbers)
        numbers[impossible] = 0
        return math.sqrt(float(np.dot(numbers, numbers)) / count)

    def weights(self, row: Row, highest: float, temperature: float = 1.0) -> Row:
        """Return each token's chance as a part of the likeliest one's, in memory that is used again."""
        numbers = self._numbers
        np.subtract(row, highest, out=numbers)
        if temperature != 1:
            with np.errstate(over="ignore"):  # at a very low temperature, minus infinity is what the others have
                np.divide(numbers, temperature, out=numbers)
        return np.exp(numbers, out=numbers)

    def draw_block(self, weights: Row, chance: float) -> Ids:
        """Return the tokens of a block, each of which is drawn as often as its weights; `chance` is from 0 to 1."""
        if not self.blocks:
            return self._all
        sums = np.add.reduce(self._in_blocks(weights), axis=0, out=self._of_blocks)
        rest = weights[self._body :].sum(dtype=np.float64)
        ends = np.append(sums.astype(np.float64), rest).cumsum()
        block = int(np.searchsorted(ends, chance * ends[-1], side="right"))
        return self._all[self._body :] if block >= self.blocks else self._all[block : self._body : self.blocks]

    def masked(self, row: Row, allowed: npt.NDArray[np.bool_]) -> Row:
        """Return the logits with minus infinity for all tokens but the allowed ones, in memory that is used again."""
        np.take(_PENALTIES, np.packbits(allowed), axis=0, out=self._penalty, mode="clip")
        return np.add(row, self._penalty.reshape(-1)[: self.size], out=self._masked)

    def _in_blocks(self, row: Row) -> Row:
        return row[: self._body].reshape(-1, self.blocks)
