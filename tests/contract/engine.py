"""The description of an engine under test, and of the models that it is tested with; knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Yaml = dict[str, Any]
"""The keys of a model's YAML but `name` and `backend`."""
Maker = Callable[[Path], Yaml]
"""Puts a model's files into an empty folder of the models folder, and returns its YAML.

`parameters.model` in it is relative to that folder.
"""
CONTEXT = 8192
"""Tokens that a writing model's context must have, so that a long answer takes seconds at least."""


@dataclass(frozen=True)
class Engine:
    """What the tests know of one engine."""

    name: str
    """As in `backend:`, or another where several descriptions share one engine; with dashes."""
    writer: Maker
    """Makes a model that writes text: greedily ASCII and no end, with a context of `CONTEXT` tokens at least."""
    embedder: Maker | None = None
    """Makes one that turns texts into vectors."""
    ranker: Maker | None = None
    """Makes one that scores documents."""
    seer: Maker | None = None
    """Makes one that writes text about images, greedily ASCII without an end."""
    adapted: Maker | None = None
    """Makes one that writes text, beside two adapters of it, `a` and `b`, and the weights that they make of it."""
    real_writer: Maker | None = None
    """The same of a real model, which may have to be fetched; its tests take longer."""
    real_embedder: Maker | None = None
    backend: str = ""
    """The engine's name in YAML, if `name` is another."""
    environment: str = ""
    """The name by which `localai-flask backends install` knows its environment; "": the server's own."""
    is_quick: bool = False
    """Whether `make test` runs its tests, which then have to end within a minute."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables for the server."""
    packages: Callable[[Path], None] | None = None
    """Puts packages into a folder from which the server's processes import."""
    is_scripted: bool = False
    """Whether it computes no probabilities: it takes every field, but nothing changes what it says."""
    need: Callable[[], object] | None = None
    """Skips the tests if something is not here that no environment brings."""
    has_alternatives: bool = True
    """Whether log-probabilities come with those of tokens that were not chosen."""
    own_answers: str = ""
    """The module of `tests.contract.own_answers`, if it has another name."""
    chat_prompt: str = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    """What the writer's chat template makes of one message."""
    end_text: str = "<|im_end|>"
    """How the token is written that ends the writer's texts."""
    tie: float = 0.0
    """By how much a token must lead, in logits, for the engine to choose it too when others are in its batch.

    0: answers are the same to the last token, however many run at once.
    """
    tie_alone: float = 0.0
    """The same for a request that runs alone, against the library's own answer."""
    real_tie: float = 0.0
    real_tie_alone: float = 0.0
    """The same two for the real model."""
    lead_error: float = 1e-2
    """How far the distance of two log-probabilities may be from the library's own."""
    vector_error: float = 1e-4
    """How far a number of a vector may be from the library's own."""
    score_error: float = 1e-3
    """The same of a score."""

    @property
    def yaml_name(self) -> str:
        return self.backend or self.name

    @property
    def module(self) -> str:
        return self.own_answers or self.name.replace("-", "_")
