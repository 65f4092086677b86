"""What the transformers engine's choice of eight tokens costs in a large vocabulary: together, one by one, and sorted.

Needs no model: the logits are made up, with the shape that a sure model's have, and an unsure one's.

    python -m benchmarks.row_choice
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from localai_flask.backends.token_choice.row_choice import Row, choose_tokens
from localai_flask.backends.token_choice.sampler import TokenSampler
from localai_flask.sampling_params import SamplingParams

SIZE, ROWS, TIMES = 151_936, 8, 20
CASES: dict[str, dict[str, Any]] = {
    "temperature 0": {"temperature": 0.0},
    "default (top_k 40, top_p 0.95)": {},
    "default, repeat_penalty 1.1": {"repeat_penalty": 1.1},
    "default, top_logprobs 5": {"top_logprobs": 5},
    "top_p 0.95": {"top_k": 0},
    "min_p 0.05": {"top_k": 0, "top_p": 1.0, "min_p": 0.05},
    "temperature alone": {"top_k": 0, "top_p": 1.0},
}
SHAPES = {"sure": 16.0, "unsure": 9.0}
"""How far a few hundred tokens stand above the others."""


def make_logits(height: float) -> Any:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(ROWS, SIZE, generator=generator) * 2.2
    logits[:, torch.randperm(SIZE, generator=generator)[:300]] += torch.linspace(height, 5, 300)
    return logits


def milliseconds(work: Callable[[], object]) -> float:
    """Return the median of some rounds."""
    spent = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        work()
        spent.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(spent)


def main() -> None:
    print(f"{'milliseconds for 8 rows':44} together  one by one  sorted whole")
    for name, params in CASES.items():
        for shape, height in SHAPES.items():
            logits = make_logits(height)
            rows = [Row(TokenSampler(SamplingParams(seed=1, **params)), lambda last: [*range(64)]) for _ in range(ROWS)]
            together = milliseconds(lambda rows=rows, logits=logits: choose_tokens(rows, logits.clone()))
            alone = milliseconds(
                lambda rows=rows, logits=logits: [choose_tokens([row], logits[[at]]) for at, row in enumerate(rows)]
            )
            whole = milliseconds(lambda logits=logits: [row.sort(descending=True) for row in logits])
            print(f"{name:32} {shape:10} {together:10.2f} {alone:11.2f} {whole:13.2f}")


if __name__ == "__main__":
    main()
