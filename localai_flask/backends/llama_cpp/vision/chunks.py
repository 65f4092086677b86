"""What stands for an image among the tokens of a prompt: numbers below zero, made from its content.

Two images that differ have no such number in common but by chance, so that prefixes are compared, shared and kept as
those of text are. The numbers also say where an image ends, and which of them take a position: under M-RoPE an image
takes as many positions as its longer side has tokens. Pure functions on arrays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]

LAST, STILL = 1 << 30, 1 << 29
"""Bits of the number that ends a chunk, and of those that take no position of their own."""
CONTENT = STILL - 1
"""The bits that tell images apart, in each of a chunk's numbers anew."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageChunk:
    """A part of an image that the model takes as one, with nothing between."""

    tokens: Tokens
    """What stands for it in a prompt."""
    positions: Tokens
    """Relative to the first, shape (1 or 4, tokens): under M-RoPE those in time, height and width."""

    @property
    def length(self) -> int:
        return len(self.tokens)


Part = list[int] | ImageChunk
"""An image is some parts for the model: chunks, and tokens of text around them."""


def make_chunk(key: bytes, count: int, positions: Tokens, position_count: int) -> ImageChunk:
    """Make the chunk of `count` tokens with this content, which together take some positions."""
    content = np.frombuffer(hashlib.shake_256(key).digest(4 * count), np.uint32) & CONTENT
    tokens = content | np.uint32(1 << 31)
    tokens[position_count:] |= np.uint32(STILL)
    tokens[-1] |= np.uint32(LAST)
    return ImageChunk(tokens.view(np.int32), positions)


def whole(tokens: Tokens, length: int) -> int:
    """Return how many of the first tokens there are without the chunk that they would cut."""
    if not length or tokens[length - 1] >= 0 or tokens[length - 1] & LAST:
        return length
    ends = np.flatnonzero((tokens[:length] >= 0) | (tokens[:length] & LAST != 0))
    return int(ends[-1]) + 1 if len(ends) else 0


def count_still(tokens: Tokens) -> int:
    """Count the tokens that take no position."""
    return int(np.count_nonzero((tokens < 0) & (tokens & STILL != 0)))


def chunk_begins(tokens: Tokens) -> list[int]:
    """List where chunks begin."""
    images = tokens < 0
    ends = np.concatenate(([True], (tokens[:-1] >= 0) | (tokens[:-1] & LAST != 0))) if len(tokens) else images
    begins: list[int] = np.flatnonzero(images & ends).tolist()
    return begins
