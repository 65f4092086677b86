"""`python -m tests.chaos.soak`: many requests, and many loads and unloads, after which nothing has grown.

What a process holds is counted again and again; after a warm-up a line through the counts has to be level.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.chaos import census
from tests.chaos.families import FAMILIES, Ending, Request, run
from tests.chaos.load import ECHO, PROMPT, TOY
from tests.chaos.stage import Stage

CLIENTS = 8
SAMPLES = 30
WARM_UP = 0.4
"""The share of the counts that is not looked at: threads, arenas of memory and caches come to their size meanwhile."""
MEMORY_KB = 4096
MEMORY_SHARE = 0.05
"""By how much memory may seem to grow over the counts that are looked at, whichever of the two is more."""
COUNT = 2.0
"""By how much a number of processes, threads or descriptors may seem to grow."""
THREADS = 24.0
"""Threads of web workers come when they are needed and stay, up to a bound."""


def draw(rng: random.Random) -> Request:
    """Make up a request that takes little time, and now and then a client that leaves."""
    family, stream = rng.choice(tuple(FAMILIES)), rng.random() < 0.5
    leaves_after_s = rng.uniform(0.001, 0.05) if rng.random() < 0.05 else None
    if rng.random() < 0.2:
        return Request(family, stream, TOY, PROMPT.format(rng.randrange(10**6)), 4, hang_up_after_s=leaves_after_s)
    said = "".join(rng.choices("abcdefghij", k=rng.randint(1, 200)))
    return Request(family, stream, ECHO, json.dumps({"say": said, "chunk": 16}), 1000, said, 0.0, leaves_after_s)


class Growth:
    """Counts over time, by what and where, and what of it grows."""

    def __init__(self) -> None:
        self._counts: dict[str, list[float]] = defaultdict(list)

    def add(self, counted: census.Census) -> None:
        for name, count in counted.totals().items():
            self._counts[name].append(count)
        for role, members in counted.by_role().items():
            self._counts[f"{role}: threads"].append(sum(each.threads for each in members))
            self._counts[f"{role}: memory in kB"].append(sum(each.memory_kb for each in members))

    def describe(self) -> Iterable[tuple[str, float, float, bool]]:
        """Yield a name, the last count, how much it grows over what is looked at, and whether that is too much."""
        for name, counts in sorted(self._counts.items()):
            looked_at = counts[int(WARM_UP * len(counts)) :]
            grows = slope(looked_at) * (len(looked_at) - 1)
            yield name, counts[-1], grows, grows > _allowance(name, looked_at)


def _allowance(name: str, counts: list[float]) -> float:
    if name.endswith("memory in kB"):
        return max(MEMORY_KB, MEMORY_SHARE * counts[0])
    return THREADS if name.endswith("threads") else COUNT


def slope(values: list[float]) -> float:
    """Return the slope of the line through values at equal distances that leaves the least squares."""
    if len(values) < 2:
        return 0.0
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    above = sum((at - middle) * (value - mean) for at, value in enumerate(values))
    return above / sum((at - middle) ** 2 for at in range(len(values)))


def ask_many(stage: Stage, count: int, seed: int, growth: Growth) -> list[str]:
    """Ask, and count now and then while nothing runs; return how requests ended that should not."""
    faults: list[str] = []
    numbers = itertools.count()

    def ask(until: int) -> None:
        while (number := next(numbers)) < until:
            request = run(draw(random.Random(f"{seed}/{number}")), stage.server.port)
            if request.ending not in (Ending.ANSWERED, Ending.HUNG_UP):
                faults.append(str(request))

    for sample in range(1, SAMPLES + 1):
        until = count * sample // SAMPLES
        numbers = itertools.count(count * (sample - 1) // SAMPLES)
        threads = [threading.Thread(target=ask, args=(until,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(0.3)  # until what clients gave up is given up
        growth.add(census.take(stage.server))
    return faults


def load_many(stage: Stage, count: int, growth: Growth) -> list[str]:
    """Load a model and unload it, again and again; return what went wrong."""
    faults = []
    for number in range(count):
        model = (TOY, ECHO)[number % 2]
        status, answer = stage.server.post("/backend/shutdown", {"model": model})
        if status != 200:
            faults.append(f"unloading {model}: {status} {answer}")
        request = run(Request("chat", False, model, "hello", 4), stage.server.port)
        if request.ending is not Ending.ANSWERED:
            faults.append(str(request))
        if number % 2:
            growth.add(census.take(stage.server))
    return faults


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=10_000)
    arguments.add_argument("--loads", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="as a former run has printed it")
    given = arguments.parse_args()
    print(f"seed {given.seed}", flush=True)
    broken = 0
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, Stage(Path(folder)) as stage:
        for what, work in (
            (f"{given.requests} requests", lambda growth: ask_many(stage, given.requests, given.seed, growth)),
            (f"{given.loads} loads and unloads", lambda growth: load_many(stage, given.loads, growth)),
        ):
            growth, begun = Growth(), time.monotonic()
            faults = work(growth)
            broken += len(faults) + report(what, time.monotonic() - begun, faults, growth)
    return min(broken, 1)


def report(what: str, took_s: float, faults: list[str], growth: Growth) -> int:
    """Print what was seen; return how many things have grown."""
    print(f"{what} in {took_s:.0f} s", *(f"    WRONG {fault}" for fault in faults[:20]), sep="\n")
    grown = 0
    for name, last, grows, is_too_much in growth.describe():
        if is_too_much or name.endswith(("memory in kB", "processes")):
            print(
                f"    {'GROWS ' if is_too_much else ''}{name}: {last:.0f}, {grows:+.1f} after the warm-up", flush=True
            )
        grown += is_too_much
    return grown


if __name__ == "__main__":
    sys.exit(main())
