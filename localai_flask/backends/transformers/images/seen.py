"""Prompts with images as a model sees them; pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

DEEPER = "deepstack_features"
"""What some encoders give to deeper layers of the language model, a tensor for each layer."""


@dataclass(eq=False)
class SeenImage:
    """An image as one model sees it."""

    text: str
    """What stands for it in the prompt: a control token for each of its vectors, and what is around them."""
    inputs: dict[str, Tensor]
    """What the encoder reads, as the processor made it; once that is done, what tells an image's shape."""
    output: Any = None
    """What the encoder made of it."""
    first_id: int = 0
    """Where batches know its vectors by ids of their own, the first of them."""

    @cached_property
    def rows(self) -> Tensor:
        """Its vectors, shape (tokens, width)."""
        return torch.cat([each.reshape(-1, each.shape[-1]) for each in self.output.pooler_output])

    @property
    def bytes(self) -> int:
        return sum(each.nbytes for each in (*self.inputs.values(), *_tensors(self.output or {})))


@dataclass(eq=False)
class SeenPrompt:
    """A prompt's tokens, and its images in their order."""

    ids: list[int]
    images: list[SeenImage] = field(default_factory=list)


def _tensors(output: Any) -> list[Tensor]:
    """Return the tensors of an output, which holds lists of them, and lists of such."""
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, Mapping) else output or ()
    return [tensor for value in values for tensor in _tensors(value)]
