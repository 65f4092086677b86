"""How many requests run at once, how long they may be, and how much memory their caches take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from localai_flask.backends.hugging_face.folder import about
from localai_flask.backends.torch_devices import free_bytes
from localai_flask.config import traits
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError

PAGE_TOKENS = 32
BATCH_TOKENS = 256
MEMORY_SHARE = 0.5
"""Of the memory that is free once the weights are loaded, the part that the KV cache may take at most."""


RECURRENT = frozenset(("linear_attention", "conv", "mamba", "moe", "mlp"))
"""Kinds of layers, as the library's configurations name them, whose states do not grow with the text."""


@dataclass(frozen=True)
class CacheSize:
    """How caches are laid out; all in tokens but the last. Without `blocks` each request has a cache of its own."""

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
    context = choose_context(config, trained_context(model))
    text = model.config.get_text_config()
    page_bytes = PAGE_TOKENS * token_bytes(model, text.num_hidden_layers)
    pages = math.ceil(context / PAGE_TOKENS) + 1
    room = room_for_cache(config, model, context, pages * page_bytes)
    blocks = max(pages, min(pages * sequences, min(wanted_bytes, room) // page_bytes))
    return CacheSize(context, sequences, blocks, batch_tokens(config, sequences), blocks * page_bytes)


def size_own_caches(config: EngineConfig, model: Any, sequences: int) -> CacheSize:
    """Let as many requests run as the memory has whole contexts for, and one at least."""
    context = choose_context(config, trained_context(model))
    text = model.config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["attention"] * text.num_hidden_layers
    each = context * token_bytes(model, sum(kind not in RECURRENT for kind in kinds))
    sequences = min(sequences, room_for_cache(config, model, context, each) // max(each, 1))
    return CacheSize(context, sequences, 0, 0, sequences * each)


def token_bytes(model: Any, layers: int) -> int:
    """Return what a token takes in the cache; nothing for a model without attention."""
    text = model.config.get_text_config()
    attending = getattr(text, "num_attention_heads", None)
    if not attending:
        return 0
    heads = getattr(text, "num_key_value_heads", None) or attending
    head_size = getattr(text, "head_dim", None) or text.hidden_size // attending
    return int(2 * layers * heads * head_size * model.dtype.itemsize)


def room_for_cache(config: EngineConfig, model: Any, context: int, least: int) -> int:
    """Return the bytes that caches may take; raise `ConfigError` if one request's do not fit."""
    room = int(MEMORY_SHARE * free_bytes(model.device))
    if least > room:
        raise ConfigError(
            f"{about(config)} needs {least >> 20} MiB of KV cache for one request of {context} tokens, "
            f"but only {room >> 20} MiB can be used; lower `context_size`.",
            param="context_size",
        )
    return room


def batch_tokens(config: EngineConfig, sequences: int) -> int:
    return max(config.batch or BATCH_TOKENS, sequences)


def trained_context(model: Any) -> int:
    """The longest context the model was made for, 0 if it does not say."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0)


def choose_context(config: EngineConfig, trained: int) -> int:
    """Choose how many tokens a request may have; raise `ConfigError` if the YAML wants more than the model can."""
    if trained and config.context_size and config.context_size > trained:
        raise ConfigError(
            f"{about(config)} cannot give a context of {config.context_size} tokens, as the model was made for "
            f"{trained}; lower `context_size`.",
            param="context_size",
        )
    return traits.choose_context(config.context_size, trained)
