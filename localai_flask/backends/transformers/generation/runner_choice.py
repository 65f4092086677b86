"""Whether a model's sequences are batched by the library or take turns, by what it says of itself and by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformers.generation.continuous_batching.cache import group_layers_by_attn_type

from localai_flask.backends.notes import whole_option
from localai_flask.backends.torch_devices import free_bytes
from localai_flask.backends.transformers.generation.batching import Batcher
from localai_flask.backends.transformers.generation.runner import NotBatchable, Runner
from localai_flask.backends.transformers.generation.turns import Turns
from localai_flask.backends.transformers.loading.cache_size import (
    CacheSize,
    batch_tokens,
    size_cache,
    size_own_caches,
)
from localai_flask.config.model import EngineConfig

if TYPE_CHECKING:
    from localai_flask.backends.transformers.images.reader import ImageReader

log = logging.getLogger(__name__)

SEQUENCES = 8
CACHE_MIB = 512


def reason_for_turns(model: Any) -> str:
    """Return why the library's batches cannot hold an architecture, by what it says of itself; empty if they can."""
    if model.config.is_encoder_decoder:
        return "it has an encoder"
    if model._is_stateful:
        return "it keeps a state instead of all tokens"
    if not model.is_backend_compatible():  # it would run, and each token would see the wrong others
        return "its attention takes no paged cache"
    try:
        group_layers_by_attn_type(model.config.get_text_config())
    except ValueError as error:
        return str(error)
    return ""


def open_runner(
    config: EngineConfig, model: Any, notify: Callable[[], None] | None, reader: ImageReader | None = None
) -> tuple[Runner, CacheSize]:
    """Choose what suits the model, and make room for the caches; raise `ConfigError` or `ModelLoadFailed`.

    With a `reader` the model sees images.
    """
    sequences = whole_option(config, SEQUENCES, "parallel", "n_parallel")
    cache_bytes = whole_option(config, CACHE_MIB, "kv_cache_mib") << 20
    if model.device.type != "cpu" and config.option("kv_cache_mib") is None:
        cache_bytes = free_bytes(model.device)
    reason = reason_for_turns(model)
    if not reason:
        size = size_cache(config, model, sequences, cache_bytes)
        try:
            return Batcher(model, size, notify, reader), size
        except NotBatchable as error:
            reason = str(error)
    log.info("model %s: the library cannot batch %r: %s", config.name, model.config.model_type, reason)
    turns = Turns(model, batch_tokens(config, 1), reader)
    return turns, size_own_caches(config, model, sequences if turns.interleaves else 1)
