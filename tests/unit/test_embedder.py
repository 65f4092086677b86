"""Which texts the embedder computes side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from localai_flask.backends.base import Inquiry
from localai_flask.backends.embedding import Embedder, Tokens, Vectors
from localai_flask.generation import Prompt
from localai_flask.inquiry import Embed


class Padding:
    """Counts what padded batches cost."""

    kind, width, n_batch, longest, side_by_side, takes_pieces = "mean", 1, 4096, 4096, 64, False

    def __init__(self, pads: bool):
        self.pads = pads
        self.batches: list[list[int]] = []

    @property
    def cost(self) -> int:
        return sum(max(batch) * len(batch) for batch in self.batches)

    def project(self, pooled: Vectors) -> Vectors:
        return pooled

    def compute(self, texts: list[Tokens], position: int = 0) -> list[Vectors]:
        self.batches.append([len(tokens) for tokens in texts])
        return [np.ones((len(tokens), 1), np.float32) for tokens in texts]


class Pace:
    def budget(self, streams: int) -> int:
        return 4096

    def observe(self, prompt_tokens: int, streams: int, seconds: float) -> None: ...


def compute(lengths: list[int], pads: bool) -> Padding:
    context = Padding(pads)
    embedder = Embedder(context, lambda question: question.prompt.tokens or [], Pace(), norm=2, trained=4096)
    for number, length in enumerate(lengths):
        embedder.add(Inquiry(number, Embed(Prompt(tokens=[1] * length)), group=0))
    answered: set[Any] = set()
    while not embedder.is_idle:
        answered |= {id for id, _ in embedder.step(0)}
    assert answered == set(range(len(lengths)))
    return context


@pytest.mark.parametrize("lengths", [[512, *[16] * 63], [16, 512, *[16] * 62], list(range(1, 65)), [7] * 64])
def test_padding_costs_little(lengths: list[int]) -> None:
    assert compute(lengths, pads=True).cost <= 2 * sum(lengths)


def test_texts_of_one_length_are_computed_together() -> None:
    assert len(compute([7] * 64, pads=True).batches) == 1


def test_who_pads_nothing_takes_them_as_they_come() -> None:
    assert compute([512, *[16] * 63], pads=False).batches == [[512, *[16] * 63]]
