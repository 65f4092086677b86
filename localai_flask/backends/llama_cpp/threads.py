"""How many threads compute a step: measured once at load, for steps with and without prompts.

Owns the measurement. Knows no model: it is given something to time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

BUDGET_S = 0.15
"""Time that one measurement may take, give or take the step under way."""
ROUNDS = 15
WORTH_IT = 0.9
"""More threads are chosen if they take at most this share of the time: each is taken from the web workers."""


def choose_threads(step: Callable[[int], object], cores: int, clock: Callable[[], float] = time.perf_counter) -> int:
    """Give the number of threads, up to `cores`, that makes a step fastest, or nearly so and fewer.

    `step` computes one step with that many threads. The most are tried first; where a step takes so long that the
    budget is gone before all numbers were compared, each core has enough to do, and all are chosen.
    """
    if cores == 1:
        return 1
    counts = sorted({cores, *(2**power for power in range(cores.bit_length()) if 2**power < cores)}, reverse=True)
    best = dict.fromkeys(counts, float("inf"))
    end = clock() + BUDGET_S
    for number in range(ROUNDS + 1):
        for count in counts:
            if clock() > end:
                return _fewest(best) if number > 1 else cores
            begun = clock()
            step(count)
            if number:  # the first round wakes the threads up, and fills the processor's caches
                best[count] = min(best[count], clock() - begun)
    return _fewest(best)


def _fewest(best: dict[int, float]) -> int:
    """Choose the fewest threads to which adding more is not worth it."""
    chosen, *more = sorted(best)
    for count in more:
        if best[count] <= best[chosen] * WORTH_IT:
            chosen = count
    return chosen
