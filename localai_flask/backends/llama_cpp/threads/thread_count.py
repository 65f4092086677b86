"""How many threads compute a step: measured once at load, for steps with and without prompts.

Owns the measurement. Knows no model: it is given something to time.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

BUDGET_S = 0.3
"""Time that one measurement may take, give or take the step under way."""
ROUNDS = 15
WORTH_IT = 0.9
"""More threads are chosen if they take at most this share of the time: each is taken from the web workers."""


class Choice(NamedTuple):
    """A number of threads, and how long a step takes with them; infinity if that was not measured."""

    threads: int
    seconds: float = math.inf


def candidates(cores: int) -> list[int]:
    """Return the numbers of threads to compare: powers of two, and all cores."""
    return [*(2**power for power in range(cores.bit_length()) if 2**power < cores), cores]


def choose_threads(
    step: Callable[[int], object], counts: list[int], clock: Callable[[], float] = time.perf_counter
) -> Choice:
    """Return the number of threads, one of `counts`, that makes a step fastest, or nearly so and fewer.

    `step` computes one step with that many threads. The most are tried first; where a step takes so long that the
    budget is gone before all numbers were compared, each core has enough to do, and the most are chosen.
    """
    if counts == [1]:
        return Choice(1)
    counts = sorted(counts, reverse=True)
    taken: dict[int, list[float]] = {count: [] for count in counts}
    end = clock() + BUDGET_S
    for number in range(ROUNDS + 1):
        for count in counts:
            if clock() > end:
                return _fewest(taken) if number > 1 else Choice(counts[0])
            begun = clock()
            step(count)
            if number:  # the first round wakes the threads up, and fills the processor's caches
                taken[count].append(clock() - begun)
    return _fewest(taken)


def _fewest(taken: dict[int, list[float]]) -> Choice:
    """Choose the fewest threads to which adding more is not worth it."""
    # Of steps beside other programs the fastest would say how long it takes without them.
    fewest, *more = (Choice(count, statistics.median(taken[count])) for count in sorted(taken))
    for choice in more:
        if choice.seconds <= fewest.seconds * WORTH_IT:
            fewest = choice
    return fewest
