"""From a folder to a model that generates.

Every refusal is one sentence that names the cause and what to do; knows no request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.transformers.loading.cache_size import CacheSize, size_cache, trained_context
from localai_flask.backends.transformers.loading.devices import choose_device, free_bytes
from localai_flask.backends.transformers.loading.failures import LIBRARY
from localai_flask.backends.transformers.loading.folder import (
    check_config,
    check_folder,
    prepare,
    read_tokenizer,
    whole_option,
)
from localai_flask.backends.transformers.loading.weights import read_weights
from localai_flask.backends.transformers.tokens import Tokens
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ModelLoadFailed
from localai_flask.generation import ModelInfo

SEQUENCES = 8
CACHE_MIB = 512


@dataclass(frozen=True)
class LoadedModel:
    model: Any
    tokens: Tokens
    cache: CacheSize
    info: ModelInfo


def load_model(config: EngineConfig, progress: LoadProgress) -> LoadedModel:
    """Read everything that the folder holds.

    Raises `ConfigError` if YAML and folder do not fit together, `ModelLoadFailed` if the library cannot use the folder.
    """
    check_config(config)
    sequences = whole_option(config, SEQUENCES, "parallel", "n_parallel")
    cache_bytes = whole_option(config, CACHE_MIB, "kv_cache_mib") << 20
    device = choose_device(config)
    if device.type != "cpu" and config.option("kv_cache_mib") is None:
        cache_bytes = free_bytes(device)
    folder = check_folder(config)
    prepare(config, folder, progress)
    tokenizer = read_tokenizer(config, folder)
    model = read_weights(config, folder, device, transformers.AutoModelForCausalLM)
    check_batching(model)
    progress(0.95)
    cache = size_cache(config, model, sequences, cache_bytes)
    tokens = Tokens(tokenizer, model.get_input_embeddings().num_embeddings, end_tokens(model, tokenizer))
    return LoadedModel(model, tokens, cache, describe(model, tokenizer, cache))


def check_batching(model: Any) -> None:
    """Raise `ModelLoadFailed` for a model whose attention takes no paged cache."""
    if not model.is_backend_compatible():  # it would run, and each token would see the wrong others
        raise ModelLoadFailed(
            f"{LIBRARY} cannot batch the architecture {model.config.model_type!r}, as its attention takes no paged "
            "cache; use another model."
        )


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Collect the end-of-sequence ids of the generation config, the model config and the tokenizer."""
    found: set[int] = set()
    for ids in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        found.update([] if ids is None else [ids] if isinstance(ids, int) else ids)
    return found


def describe(model: Any, tokenizer: Any, cache: CacheSize) -> ModelInfo:
    templates = tokenizer.chat_template
    named = templates if isinstance(templates, dict) else {"default": templates}
    weights = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    return ModelInfo(
        backend="transformers",
        engine_version=LIBRARY,
        context_length=cache.context_length,
        capabilities=frozenset({"generate", "constrain", "end_thinking", "tokenize"}),
        chat_template=named.get("default"),
        tool_template=named.get("tool_use"),
        control_tokens=tuple(each.content for each in tokenizer.added_tokens_decoder.values() if each.special),
        bos_token=tokenizer.bos_token or "",
        eos_token=tokenizer.eos_token or "",
        trained_context=trained_context(model),
        memory_bytes=weights + cache.bytes,
        description=describe_model(model),
    )


def describe_model(model: Any) -> str:
    where = "" if model.device.type == "cpu" else f" on {model.device}"
    return f"{model.config.model_type}, {model.num_parameters() / 1e6:.1f} M parameters, {model.dtype}{where}"
