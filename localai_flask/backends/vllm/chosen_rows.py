"""The rows whose next token is chosen by the house's rules: the library is made to take it as the likeliest.

A processor of logits lives in the library, which makes it by itself; so rows are found over a table of the process.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from localai_flask.backends.token_choice.row_choice import Row, choose_tokens
from localai_flask.backends.token_choice.sampler import TokenSampler
from localai_flask.backends.vllm.sampling import KEY


class ChosenRow(NamedTuple):
    """A request of ours; `is_due` says whether its prompt is whole, as logits before that are thrown away."""

    sampler: TokenSampler
    prompt: list[int]
    is_due: Callable[[], bool]


ROWS: dict[str, ChosenRow] = {}
"""The running requests whose tokens are chosen here, by the key that they carry through the library."""


class RowChooser(LogitsProcessor):  # type: ignore[misc]
    """Makes the token that is chosen for each of our rows the only one that is left."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool):
        self._rows: dict[int, tuple[ChosenRow, list[int]]] = {}
        """By their places in the batch, with the tokens said so far."""

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the rows as requests come, go and change places; in this order, as the library asks."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._rows.pop(index, None)
        for index, params, _, said in batch_update.added:
            row = ROWS.get((params.extra_args or {}).get(KEY, ""))
            self._rows.pop(index, None)
            if row is not None:
                self._rows[index] = row, said
        for one, other, how in batch_update.moved:
            moved, met = self._rows.pop(one, None), self._rows.pop(other, None)
            if moved is not None:
                self._rows[other] = moved
            if met is not None and how is MoveDirectionality.SWAP:
                self._rows[one] = met

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        due = [(index, *entry) for index, entry in self._rows.items() if index < len(logits) and entry[0].is_due()]
        if not due:
            return logits
        places = [index for index, _, _ in due]
        rows = [Row(row.sampler, _history(row.prompt, said)) for _, row, said in due]
        tokens = choose_tokens(rows, logits[places].float())
        logits[places] = -math.inf
        logits[places, tokens] = 0.0
        return logits


def _history(prompt: list[int], said: list[int]) -> Callable[[int], list[int]]:
    def last(count: int) -> list[int]:
        tokens = [*prompt, *said]
        return tokens if count < 0 else tokens[-count:]

    return last
