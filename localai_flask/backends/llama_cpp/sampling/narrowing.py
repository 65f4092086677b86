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

from localai_flask.backends.llama_cpp.sampling.candidates import FARTHEST, Candidates, Ids, Row
from localai_flask.sampling_params import SamplingParams

Narrow = Callable[[Candidates, Row], None]
"""Puts those tokens of a row into the candidates that may be chosen; none if there are none."""

LIKELY = 256
"""Among how many of the likeliest tokens `top_p` first looks for its end."""
SORTED = 2048
"""How many tokens at most are sorted as a whole."""
NONE: Ids = np.empty(0, np.int64)
NEAR = 16.0
"""Logits so far below the highest are first taken for their upper bound, which saves computing their chances."""


class Narrowing(NamedTuple):
    """How to narrow, and the parameter that has its full effect by this, so that the chain need not see it again."""

    narrow: Narrow
    settled: str = ""


def narrowing_for(params: SamplingParams, seed: int) -> Narrowing:
    """Choose how to narrow, by the first sampler in llama.cpp's order that limits the candidates.

    Samplers in another order see all tokens.
    """
    if params.samplers:
        return Narrowing(everything)
    if params.top_n_sigma > 0:
        return Narrowing(_sigma(params.top_n_sigma), "top_n_sigma")
    if params.top_k > 0:
        return Narrowing(_top(params.top_k))
    if params.typical_p < 1:
        return Narrowing(_typical(params.typical_p), "typ_p")
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


def _typical(typical_p: float) -> Narrow:
    """Do what llama.cpp's typical sampler does, without sorting tokens that are too surprising to be typical."""

    def narrow(candidates: Candidates, row: Row) -> None:
        highest = float(row.max())
        if not math.isfinite(highest):
            return candidates.put(NONE, row[NONE])
        total, mean = candidates.moments(row, highest)
        entropy = math.log(total) - mean
        reach = max(entropy, 1.0)
        mass = 0.0
        while mass <= typical_p and reach < FARTHEST:
            # Tokens less surprising than the entropy are nearer to it than `reach` in any case.
            ids = candidates.at_least(row, highest + math.log(total) - entropy - reach)
            reach *= 4
            logprobs = row[ids] - (highest + math.log(total))
            nearest = np.argsort(np.abs(-logprobs - entropy), kind="stable")
            masses = np.exp(logprobs[nearest]).cumsum(dtype=np.float64)
            mass = float(masses[-1])
        kept = ids[nearest[: int(np.searchsorted(masses, typical_p, side="right")) + 1]]
        candidates.put(kept, row[kept])

    return narrow


def _mass(top_p: float) -> Narrow:
    """Do what llama.cpp's top-p does, whose chances are those among all tokens."""

    def narrow(candidates: Candidates, row: Row) -> None:
        highest = float(row.max())
        if not math.isfinite(highest):
            return candidates.put(NONE, row[NONE])
        ids = candidates.at_least(row, candidates.threshold(row, LIKELY))
        near, far = candidates.mass(row, highest, NEAR)
        enough, most = (_likeliest(ids, row, highest, top_p * total) for total in (near, near + far))
        if enough is None or most is None or len(enough) < len(most):
            total = candidates.mass(row, highest, math.inf)[0] if far else near
            # All tokens below this together have less than the part that top-p drops.
            ids = candidates.at_least(row, highest + math.log((1 - top_p) * total / candidates.size))
            enough = _likeliest(ids, row, highest, top_p * total)
        kept = ids if enough is None else enough
        candidates.put(kept, row[kept], is_sorted=len(kept) <= SORTED)

    return narrow


def _likeliest(ids: Ids, row: Row, highest: float, mass: float) -> Ids | None:
    """Return the likeliest of some tokens that together have this mass, None if all have less; few come sorted.

    Many are parted again and again, and only those around the end are sorted: sorting all would take ten times as long.
    """
    kept, rest, logits = [], ids, row[ids]
    while len(rest) > SORTED:
        is_above = logits > np.median(logits[:: len(logits) // 100])
        above = float(np.exp(logits[is_above] - highest).sum(dtype=np.float64))
        if above < mass:
            kept.append(rest[is_above])
            mass -= above
            np.logical_not(is_above, out=is_above)
        if is_above.all():
            break
        rest, logits = rest[is_above], logits[is_above]
    rest = rest[np.argsort(-logits, kind="stable")]
    ends = np.exp(row[rest] - highest).cumsum(dtype=np.float64)
    end = int(np.searchsorted(ends, mass)) + 1
    if end > len(rest) and not kept:
        return None
    kept.append(rest[:end])
    likeliest = np.concatenate(kept)
    is_few = len(kept) > 1 and len(likeliest) <= SORTED
    return likeliest[np.argsort(-row[likeliest], kind="stable")] if is_few else likeliest


def _block(temperature: float, chances: random.Random) -> Narrow:
    """Draw a block of tokens here and leave the choice in it to the chain, as only the temperature matters."""

    def narrow(candidates: Candidates, row: Row) -> None:
        ids = candidates.draw_block(candidates.weights(row, float(row.max()), temperature), chances.random())
        ids = ids[row[ids] > -np.inf]
        candidates.put(ids, row[ids])

    return narrow
