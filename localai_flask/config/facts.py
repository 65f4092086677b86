"""What can be told of a model that is not loaded: from its YAML, and from the header of its file.

A guess where only the engine knows; once a model is loaded its `ModelInfo` tells the truth.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import msgspec

from localai_flask.config.gguf import inspect
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError

DEFAULT_CONTEXT = 8192
"""What engines give at most where nobody asks for more."""
RANK = 4
"""The number of llama.h's `llama_pooling_type` for models that score pairs of texts."""


class Header(msgspec.Struct, frozen=True):
    """What a model's file or folder says; 0 and None where it is silent."""

    trained_context: int = 0
    pooling_type: int | None = None


def read_header(path: Path) -> Header:
    """Read a GGUF file's header or a folder's config.json, anew only if it changed; what is unreadable is silent."""
    try:
        stat = path.stat()
    except OSError:  # not there yet, or not any more
        return Header()
    return _read(path, stat.st_mtime_ns, stat.st_size)


def context_length(config: ModelConfig, default: int = 0) -> int | None:
    """Guess how many tokens one request may have; `default` holds where the YAML is silent, if it is not 0."""
    wanted = config.context_size or default
    if wanted > 0:
        return wanted
    trained = read_header(config.model_path).trained_context if config.parameters.model else 0
    if not trained:
        return None
    return trained if wanted == -1 else min(trained, DEFAULT_CONTEXT)


def capabilities(config: ModelConfig) -> frozenset[str]:
    """Guess what an engine will say that it can do with the model."""
    header = read_header(config.model_path) if config.parameters.model else Header()
    if config.reranking or header.pooling_type == RANK:
        return frozenset({"score", "tokenize"})
    if header.pooling_type is not None or config.type == "SentenceTransformer":
        return frozenset({"embed", "tokenize"})
    return frozenset({"generate", "tokenize"} | ({"embed"} if config.embeddings else set()))


@functools.lru_cache(maxsize=512)
def _read(path: Path, _mtime_ns: int, _size: int) -> Header:
    try:
        if path.is_dir():
            described = json.loads((path / "config.json").read_text())
            trained = described.get("max_position_embeddings")
            return Header(trained if isinstance(trained, int) else 0)
        found = inspect(path)
    except (ConfigError, OSError, ValueError, AttributeError):  # loading the model will say what is wrong with it
        return Header()
    return Header(found.context_length, found.pooling_type)
