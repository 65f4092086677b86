"""What runs the model for many sequences: the verbs that the library's batches and turns have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from localai_flask.backends.token_choice.sampler import TokenSampler
from localai_flask.backends.transformers.images.seen import SeenPrompt


class Made(NamedTuple):
    """All tokens of a sequence so far, or why there will be no more."""

    key: str
    tokens: list[int]
    error: str | None = None


class Runner(Protocol):
    """Sequences by their keys, each with its own sampler."""

    runs_by_itself: bool
    """Whether it computes in a thread of its own; else in `collect`."""

    def add(self, key: str, prompt: SeenPrompt, sampler: TokenSampler, limit: int, eos: Iterable[int]) -> None:
        """Start a sequence that ends after `limit` tokens or one of `eos`."""

    def drop(self, key: str) -> None:
        """Forget a sequence, which may already have ended."""

    def collect(self, wait_s: float) -> tuple[list[Made], bool]:
        """Return what was made, and whether more may come; waits for the first that long at most."""

    @property
    def error(self) -> str:
        """Why no more comes."""

    def stop(self) -> None:
        """Release everything."""


class NotBatchable(Exception):
    """The library's batches do not suit a model; says why."""
