"""What engines ask of a model's tokens, whichever library reads its vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from localai_flask.generation import Prompt


class ModelTokens(Protocol):
    """What has to be known of a vocabulary, whichever library reads it."""

    size: int
    eos: frozenset[int]
    silent: frozenset[int]

    def silent_but(self, names: Iterable[str]) -> frozenset[int]: ...

    def encode(self, prompt: Prompt) -> list[int]: ...

    def tokenize(self, prompt: Prompt) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...

    def spelled(self, token: int) -> bytes: ...

    def name(self, token: int) -> bytes: ...

    def piece(self, token: int) -> bytes: ...
