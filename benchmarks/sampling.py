"""What a choice costs in a large vocabulary: llama.cpp's chain over all of it, and ours over the tokens that can win.

Needs no model: the logits are made up, with the shape that a sure model's have, an unsure one's, and a flat one.

    python -m benchmarks.sampling
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.sampling.candidates import Candidates, Row
from localai_flask.backends.llama_cpp.sampling.sampler import Sampler
from localai_flask.sampling_params import SamplingParams

SIZE = 151_936
TIMES = 100
CASES: dict[str, dict[str, Any]] = {
    "temperature 0": {"temperature": 0.0},
    "default (top_k 40, top_p 0.95)": {},
    "default, repeat_penalty 1.1": {"repeat_penalty": 1.1},
    "top_p 0.95": {"top_k": 0},
    "min_p 0.05": {"top_k": 0, "top_p": 1.0, "min_p": 0.05},
    "typical_p 0.9": {"top_k": 0, "top_p": 1.0, "typical_p": 0.9},
    "top_n_sigma 1": {"top_k": 0, "top_p": 1.0, "top_n_sigma": 1.0},
    "temperature alone": {"top_k": 0, "top_p": 1.0},
    "mirostat 1": {"mirostat": 1},
    "mirostat 2": {"mirostat": 2},
}
SHAPES = {"sure": (200, 18.0), "unsure": (2000, 9.0), "flat": (0, 0.0)}
"""How many tokens stand out of the others, and the best by how much."""


def make_row(count: int, height: float) -> Row:
    """Make logits of which some stand out."""
    rng = np.random.default_rng(0)
    row = rng.standard_normal(SIZE).astype(np.float32) * 2.2
    row[rng.choice(SIZE, count, replace=False)] += np.linspace(height, 5, count, dtype=np.float32)
    return row


def whole_chain(params: SamplingParams, prompt: list[int]) -> Any:
    """Make llama.cpp's chain in its own order."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    steps = []
    if params.repeat_penalty != 1:
        steps.append(lib.llama_sampler_init_penalties(SIZE, params.repeat_last_n, params.repeat_penalty, 0, 0))
    temperature = lib.llama_sampler_init_temp(params.temperature)
    if params.temperature <= 0:
        steps.append(lib.llama_sampler_init_greedy())
    elif params.mirostat == 1:
        steps += [temperature, lib.llama_sampler_init_mirostat(SIZE, 1, params.mirostat_tau, params.mirostat_eta, 100)]
    elif params.mirostat == 2:
        steps += [temperature, lib.llama_sampler_init_mirostat_v2(1, params.mirostat_tau, params.mirostat_eta)]
    else:
        steps += [
            lib.llama_sampler_init_top_n_sigma(params.top_n_sigma),
            lib.llama_sampler_init_top_k(params.top_k),
            lib.llama_sampler_init_typical(params.typical_p, 1),
            lib.llama_sampler_init_top_p(params.top_p, 1),
            lib.llama_sampler_init_min_p(params.min_p, 1),
            temperature,
            lib.llama_sampler_init_dist(1),
        ]
    for step in steps:
        lib.llama_sampler_chain_add(chain, step)
    for token in prompt:
        lib.llama_sampler_accept(chain, token)
    return chain


def time_chain(params: SamplingParams, row: Row, prompt: list[int]) -> float:
    chain, candidates = whole_chain(params, prompt), Candidates(SIZE)
    ids = np.arange(SIZE)
    candidates.put(ids, row)
    full = candidates._data.copy()

    def run() -> None:
        ctypes.memmove(candidates._data.ctypes.data, full.ctypes.data, full.nbytes)  # as the library fills it in C
        array = candidates._array
        array.data, array.size, array.sorted = candidates._first, SIZE, False
        lib.llama_sampler_apply(chain, candidates._reference)

    return median_us(run)


def time_ours(params: SamplingParams, row: Row, prompt: list[int]) -> float:
    logits: Any = SimpleNamespace(candidates=Candidates(SIZE), row=lambda index: row)
    vocabulary: Any = SimpleNamespace(size=SIZE, suppressed=(), ends=frozenset())
    sampler = Sampler(params, vocabulary, logits, 4096, prompt)
    return median_us(lambda: sampler.sample(0))


def median_us(run: Callable[[], object]) -> float:
    """Give the median time of a call in microseconds."""
    run()
    times = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


def main() -> None:
    prompt = np.random.default_rng(1).integers(0, SIZE, 200).tolist()
    print(f"{SIZE} tokens, microseconds for each choice\n")
    print(f"{'':8}{'':34}{'chain':>10}{'ours':>10}")
    for shape, peak in SHAPES.items():
        row = make_row(*peak)
        for name, asked in CASES.items():
            params = SamplingParams(seed=1, **asked)
            theirs, ours = time_chain(params, row, prompt), time_ours(params, row, prompt)
            print(f"{shape:8}{name:34}{theirs:10.0f}{ours:10.0f}")


if __name__ == "__main__":
    main()
