"""How much memory the KV cache of the library's batches takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from localai_flask.backends.transformers.loading.devices import free_bytes
from localai_flask.backends.transformers.loading.failures import about
from localai_flask.config import traits
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError

PAGE_TOKENS = 32
BATCH_TOKENS = 256
MEMORY_SHARE = 0.5
"""Of the memory that is free once the weights are loaded, the part that the KV cache may take at most."""


@dataclass(frozen=True)
class CacheSize:
    """How the KV cache is laid out; all in tokens but the last."""

    context_length: int
    sequences: int
    blocks: int
    batch_tokens: int
    bytes: int


def size_cache(config: EngineConfig, model: Any, sequences: int, wanted_bytes: int) -> CacheSize:
    """Make room for one whole context at least, and for one of each request at most.

    Between these the wanted size decides. Requests that together outgrow the cache are not lost: the library puts the
    newest back and computes it again later.
    """
    text = model.config.get_text_config()
    context = choose_context(config, trained_context(model) or traits.DEFAULT_CONTEXT)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    page_bytes = PAGE_TOKENS * 2 * text.num_hidden_layers * heads * head_size * model.dtype.itemsize
    pages = math.ceil(context / PAGE_TOKENS) + 1
    room = int(MEMORY_SHARE * free_bytes(model.device))
    if pages * page_bytes > room:
        raise ConfigError(
            f"{about(config)} needs {pages * page_bytes >> 20} MiB of KV cache for one request of {context} tokens, "
            f"but only {room >> 20} MiB can be used; lower `context_size`.",
            param="context_size",
        )
    blocks = max(pages, min(pages * sequences, min(wanted_bytes, room) // page_bytes))
    return CacheSize(context, sequences, blocks, max(config.batch or BATCH_TOKENS, sequences), blocks * page_bytes)


def trained_context(model: Any) -> int:
    """The longest context the model was made for, 0 if it does not say."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0)


def choose_context(config: EngineConfig, trained: int) -> int:
    """Choose how many tokens a request may have; raise `ConfigError` if the YAML wants more than the model can."""
    if config.context_size and config.context_size > trained:
        raise ConfigError(
            f"{about(config)} cannot give a context of {config.context_size} tokens, as the model was made for "
            f"{trained}; lower `context_size`.",
            param="context_size",
        )
    return traits.choose_context(config.context_size, trained)
