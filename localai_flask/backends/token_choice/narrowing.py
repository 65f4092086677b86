"""From the likeliest tokens of one sequence to the next one; knows numbers and parameters, no library and no batch.

What comes out must depend on nothing but a sequence's own logits, parameters and random numbers, whatever runs beside
it: equal logits are put in the order of their ids, and sums are made here, for one sequence at a time.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from localai_flask.sampling_params import SamplingParams

Floats = npt.NDArray[np.floating]
Ids = npt.NDArray[np.int64]
FIRST_LOOK, MARGIN, WIDENING = 256, 24, 16
"""How many of the likeliest are looked at where no number is wanted, how many more than are wanted, as equals may stand
at the cut, and how many times more next time if that was not enough."""

LEAST_TEMPERATURE = 1e-6
"""Below it chance would not choose any but the likeliest token."""


def is_greedy(params: SamplingParams) -> bool:
    """Return whether the likeliest token is taken."""
    return params.temperature < LEAST_TEMPERATURE


def narrows(params: SamplingParams, size: int) -> bool:
    """Return whether anything but the temperature decides, so that the likeliest tokens are looked for."""
    return 0 < params.top_k < size or params.top_p < 1.0 or params.min_p > 0.0 or params.typical_p < 1.0


def first_look(params: SamplingParams, size: int) -> int:
    """Return how many of the likeliest tokens of a vocabulary to look at first."""
    if 0 < params.top_k < size:
        return min(params.top_k + MARGIN, size)
    return size if params.typical_p < 1.0 else min(FIRST_LOOK, size)


def draw_nearby(
    logits: Floats, ids: Ids, chances: Floats, size: int, params: SamplingParams, random: np.random.Generator
) -> int | None:
    """Choose among the likeliest tokens, with their share of the whole vocabulary; None if more have to be looked at.

    All have the shape (n,), the likeliest first.
    """
    order = in_order(logits, ids, size)
    logits, ids, chances = logits[order].astype(np.float64), ids[order], chances[order].astype(np.float64)
    is_part = len(ids) < size
    count = params.top_k
    if 0 < count < size:
        if is_part and logits[count - 1] == logits[-1]:
            return None
        logits, ids, is_part = logits[:count], ids[:count], False
        chances = softmax(logits)
    kept = narrow(logits, chances, params)
    # The last that is kept must not have equals among those that were not looked at.
    if is_part and (len(kept) == len(ids) or logits[kept[-1]] == logits[-1]):
        return None
    return int(ids[kept[pick(logits[kept], params.temperature, random)]])


def in_order(logits: Floats, ids: Ids, size: int) -> Ids:
    """Return the order in which equal ones of falling logits have rising ids."""
    ranks = np.zeros(len(logits), np.int64)
    ranks[1:] = (logits[1:] != logits[:-1]).cumsum()
    return np.argsort(ranks * size + ids)


def narrow(logits: Floats, chances: Floats, params: SamplingParams) -> Ids:
    """Apply typical_p, top_p and min_p, in llama.cpp's order; return the places that are kept.

    Logits fall from the first to the last.
    """
    kept: Ids = np.arange(len(logits))
    if params.typical_p < 1.0:
        surprise = -np.log(np.maximum(chances, 1e-30))
        nearest = np.abs(surprise - (chances * surprise).sum()).argsort(kind="stable")
        enough = int((chances[nearest].cumsum() < params.typical_p).sum()) + 1
        kept = np.sort(nearest[:enough])
        chances = chances[kept] / chances[kept].sum()
    if params.top_p < 1.0:
        kept = kept[: int((chances.cumsum() < params.top_p).sum()) + 1]
    if params.min_p > 0.0:
        floor = logits[kept[0]] + math.log(params.min_p)
        kept = kept[: max(1, int((logits[kept] >= floor).sum()))]
    return kept


def pick(logits: Floats, temperature: float, random: np.random.Generator) -> int:
    """Draw a place by chance."""
    # Subtracting the largest first keeps the division by a tiny temperature finite where it matters.
    sums = np.exp((logits - logits.max()) / temperature).cumsum(dtype=np.float64)
    return int(np.searchsorted(sums, random.random() * sums[-1], side="right"))


def softmax(logits: Floats) -> Floats:
    """Return the chances of logits that fall from the first to the last."""
    shares = np.exp(logits - logits[0])
    chances: Floats = shares / shares.sum()
    return chances
