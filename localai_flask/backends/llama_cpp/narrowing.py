"""Which tokens a sampler's chain needs to see: those that the request's own limits leave, found without a chain.

Each narrowing leaves at least all tokens that llama.cpp's chain would leave behind the sampler it stands for, so that
the distribution is the one that the chain over the whole vocabulary has.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from localai_flask.backends.llama_cpp.candidates import Candidates, Ids, Row
from localai_flask.generation import SamplingParams

Narrow = Callable[[Candidates, Row], None]
"""Puts those tokens of a row into the candidates that may be chosen; none if there are none."""

LIKELY = 256
"""Among how many of the likeliest tokens `top_p` first looks for its end."""
NEAR = 16.0
"""Logits so far below the highest are first taken for their upper bound, which saves computing their chances."""


class Narrowing(NamedTuple):
    """How to narrow, and the parameter that has its full effect by this, so that the chain need not see it again."""

    narrow: Narrow
    settled: str = ""


def narrowing_for(params: SamplingParams, seed: int) -> Narrowing:
    """Choose how to narrow, by the first sampler in llama.cpp's order that limits the candidates."""
    if params.mirostat:
        return Narrowing(everything)
    if params.top_n_sigma > 0:
        return Narrowing(_sigma(params.top_n_sigma), "top_n_sigma")
    if params.top_k > 0:
        return Narrowing(_top(params.top_k))
    if params.typical_p < 1:
        return Narrowing(everything)
    if params.top_p < 1:
        return Narrowing(_mass(params.top_p), "top_p")
    if params.min_p > 0:
        return Narrowing(_near(params.min_p))
    if params.xtc_probability > 0 or params.dynatemp_range > 0 or params.adaptive_target >= 0:
        return Narrowing(everything)
    return Narrowing(_block(params.temperature, random.Random(seed)))


def everything(candidates: Candidates, row: Row) -> None:
    _put(candidates, row, -math.inf)


def _put(candidates: Candidates, row: Row, threshold: float) -> None:
    ids = candidates.at_least(row, threshold)
    candidates.put(ids, row[ids])


def _sigma(n: float) -> Narrow:
    return lambda candidates, row: _put(candidates, row, float(row.max()) - n * candidates.spread(row))


def _top(k: int) -> Narrow:
    return lambda candidates, row: _put(candidates, row, candidates.threshold(row, k))


def _near(min_p: float) -> Narrow:
    distance = math.log(min_p)
    return lambda candidates, row: _put(candidates, row, float(row.max()) + distance)


def _mass(top_p: float) -> Narrow:
    """Do what llama.cpp's top-p does, whose chances are those among all tokens."""

    def narrow(candidates: Candidates, row: Row) -> None:
        highest = float(row.max())
        if not highest > -math.inf:
            return everything(candidates, row)
        enough, ids, logits = _likeliest(candidates, row, highest, candidates.threshold(row, LIKELY), top_p)
        if enough > len(ids):
            # All tokens below this have less than the part that top-p drops.
            total, _ = candidates.mass(row, highest, math.inf)
            threshold = highest + math.log((1 - top_p) * total / candidates.size)
            enough, ids, logits = _likeliest(candidates, row, highest, threshold, top_p)
        candidates.put(ids[:enough], logits[:enough], is_sorted=True)

    return narrow


def _likeliest(
    candidates: Candidates, row: Row, highest: float, threshold: float, top_p: float
) -> tuple[int, Ids, Row]:
    """Sort the tokens above a threshold, and count how many make up `top_p` of all mass; too many if these do not."""
    ids = candidates.at_least(row, threshold)
    logits = row[ids]
    falling = np.argsort(-logits, kind="stable")
    ids, logits = ids[falling], logits[falling]
    mass = np.exp(logits - highest).cumsum(dtype=np.float64)
    near, far = candidates.mass(row, highest, NEAR)
    least, most = (int(np.searchsorted(mass, top_p * total)) + 1 for total in (near, near + far))
    if least != most:
        total, _ = candidates.mass(row, highest, math.inf)
        least = int(np.searchsorted(mass, top_p * total)) + 1
    return least, ids, logits


def _block(temperature: float, chances: random.Random) -> Narrow:
    """Draw a block of tokens here and leave the choice in it to the chain, as only the temperature matters."""

    def narrow(candidates: Candidates, row: Row) -> None:
        ids = candidates.draw_block(candidates.weights(row, float(row.max()), temperature), chances.random())
        ids = ids[row[ids] > -np.inf]
        candidates.put(ids, row[ids])

    return narrow
