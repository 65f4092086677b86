"""Which tokens go on being used after those before them have changed: chunks of an old prompt, and a full context.

Knows tokens only. The keys and values that are moved were computed behind other tokens, so the text may differ from a
fresh computation: who wants that says so in the YAML.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from localai_flask.backends.llama_cpp.scheduling.batch import Tokens

LEAST_SHIFT = 16
"""Fewest tokens worth dropping; a context whose kept beginning leaves less than twice as many is not shifted."""


class Move(NamedTuple):
    """So many cached tokens from one position can serve at an earlier one."""

    begin: int
    to: int
    length: int


def common_prefix(a: Tokens, b: Tokens) -> int:
    """Count the tokens that two sequences have in common at their beginning."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    first = int(differs.argmax()) if length else 0
    return first if length and differs[first] else length


def find_moves(cached: Tokens, wanted: Tokens, begin: int, least: int) -> list[Move]:
    """Find chunks of at least `least` cached tokens that continue the wanted ones, of which `begin` are there already.

    Only the beginning of a sequence can be in the cache, so each chunk has to follow directly on the one before.
    """
    moves: list[Move] = []
    position, end = begin, begin
    while end + least <= len(wanted):
        starts = np.flatnonzero(cached[position : len(cached) - least + 1] == wanted[end]) + position
        chunk = wanted[end : end + least]
        start = next((int(s) for s in starts if np.array_equal(cached[s : s + least], chunk)), None)
        if start is None:
            break
        length = common_prefix(cached[start:], wanted[end:])
        moves.append(Move(start, end, length))
        position, end = start + length, end + length
    return moves


def kept_tokens(prompt: Tokens, is_control: Callable[[int], bool], has_bos: bool, n_keep: int) -> int:
    """Count the tokens that a shift has to keep: the first message of a chat, or `n_keep` if that is more.

    The first message ends where the control token that opens it comes again. Text without such markers keeps its
    begin-of-sequence token. -1 keeps the whole prompt.
    """
    if n_keep < 0:
        return len(prompt)
    keep = int(has_bos)
    opening = next((int(token) for token in prompt[keep:] if is_control(int(token))), None)
    if opening is not None:
        again = np.flatnonzero(prompt[keep:] == opening)[1:2] + keep
        keep = int(again[0]) if len(again) else keep
    return min(max(keep, n_keep), len(prompt))
