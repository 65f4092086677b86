"""Mirostat: choices whose surprise, in bits, is steered towards a target (Basu et al. 2020, arXiv:2007.14966).

Chooses as llama.cpp's samplers of this name do, which sort the whole vocabulary for each token.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from localai_flask.backends.llama_cpp.sampling.candidates import Candidates, Ids, Row
from localai_flask.sampling_params import SamplingParams

Weights = npt.NDArray[np.float64]

SHAPED_BY = 100
"""Of how many of the likeliest tokens the first Mirostat estimates the distribution's shape."""


class Mirostat:
    """Chooses among tokens whose surprise is not above a limit, which follows the surprise of the choices."""

    def __init__(self, params: SamplingParams, seed: int):
        self._temperature = params.temperature
        self._tau, self._eta = params.mirostat_tau, params.mirostat_eta
        self.limit = 2 * self._tau
        self._random = random.Random(seed)
        self._keep: Callable[[Candidates, Row, float, float], tuple[Ids, Weights]]
        self._keep = keep_likeliest if params.mirostat == 1 else keep_expected

    def choose(self, candidates: Candidates, row: Row) -> int | None:
        """Choose a token; None if none is possible."""
        if not math.isfinite(row.max()):
            return None
        ids, weights = self._keep(candidates, row, self._temperature, self.limit)
        ends = weights.cumsum()
        chosen = min(int(np.searchsorted(ends, self._random.random() * ends[-1], side="right")), len(ids) - 1)
        surprise = -math.log2(weights[chosen] / ends[-1])
        self.limit -= self._eta * (surprise - self._tau)
        return int(ids[chosen])

    def accept(self, token: int) -> None:
        """Do nothing: only choices count."""

    def close(self) -> None:
        pass


def keep_expected(candidates: Candidates, row: Row, temperature: float, limit: float) -> tuple[Ids, Weights]:
    """Keep the tokens that surprise by at most `limit` bits, the likeliest if none does (Mirostat 2)."""
    highest = float(row.max())
    total = float(candidates.weights(row, highest, temperature).sum(dtype=np.float64))
    distance = temperature * math.log(2) * (limit - math.log2(total))
    # A distance below 0 means that even the likeliest token surprises more.
    ids = candidates.at_least(row, highest - max(distance, 0.0))
    return ids, _weights(row[ids], temperature)


def keep_likeliest(candidates: Candidates, row: Row, temperature: float, limit: float) -> tuple[Ids, Weights]:
    """Keep as many of the likeliest tokens as Zipf's law says would surprise by `limit` bits (Mirostat 1)."""
    logits = -np.sort(-row[candidates.at_least(row, candidates.threshold(row, SHAPED_BY))])[:SHAPED_BY]
    ranks = np.log(np.arange(2, len(logits) + 1) / np.arange(1, len(logits)))
    exponent = float(ranks @ (logits[:-1] - logits[1:]) / temperature / (ranks @ ranks)) if len(logits) > 1 else 1.0
    count = min(max(_zipf_count(exponent, limit, candidates.size), 1), candidates.size)
    ids = candidates.at_least(row, candidates.threshold(row, count))
    if count < len(ids):
        ids = ids[np.argpartition(row[ids], len(ids) - count)[len(ids) - count :]]
    return ids, _weights(row[ids], temperature)


def _zipf_count(exponent: float, limit: float, size: int) -> int:
    excess = exponent - 1
    try:
        scale = excess / (1 - size**-excess) if abs(excess) > 1e-6 else 1 / math.log(size)
        return int((scale * 2**limit) ** (1 / exponent))
    except (OverflowError, ZeroDivisionError, ValueError):
        return size


def _weights(logits: Row, temperature: float) -> Weights:
    weights: Weights = np.exp((logits - logits.max()).astype(np.float64) / temperature)
    return weights
