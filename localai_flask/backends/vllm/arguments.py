"""From a model's YAML to the arguments of the library's engine, each of which it may name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vllm.engine.arg_utils import EngineArgs
from vllm.platforms import current_platform

from localai_flask.backends.vllm.key_checks import NEEDLESS, adapters, split_flag
from localai_flask.config import traits
from localai_flask.config.files.bounded import read_json
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import makes_vectors, ranks_documents
from localai_flask.errors import ConfigError
from localai_flask.machine import available_memory

CPU_CACHE_BYTES = 1 << 30
"""The KV cache on a processor, where memory allows: the library would take half of the machine's."""
CPU_SEQUENCES, CPU_BATCH = 16, 512
"""On a processor: sequences at once, and tokens of a step, which ends within some tenths of a second."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What the library lets `max_lora_rank` be."""
KNOWN = frozenset(field.name for field in dataclasses.fields(EngineArgs))


def make_arguments(config: EngineConfig) -> EngineArgs:
    """Make the library's arguments; raises `ConfigError` for one that it does not have, with the nearest name."""
    given = {**_of_keys(config), **_of_options(config), **config.engine_args}
    for name in given:
        if name not in KNOWN:
            raise ConfigError(f"Model {config.name}: {_unknown(name)}.", param="engine_args")
    if current_platform.is_cpu():
        given = {**_of_processors(config, given), **given}
    try:
        return EngineArgs(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Model {config.name}: vLLM refuses these arguments: {error}", param="engine_args") from error


def _of_keys(config: EngineConfig) -> dict[str, Any]:
    tokenizer = config.parameters.tokenizer
    found: dict[str, Any] = {
        "model": str(config.model_path),
        "tokenizer": str(Path(config.models_path) / tokenizer) if tokenizer else None,
        "runner": "pooling" if makes_vectors(config) or ranks_documents(config) else "generate",
        "dtype": config.dtype or ("auto" if not config.f16 else "half"),
        "quantization": config.quantization,
        "load_format": config.load_format,
        "max_model_len": config.max_model_len or traits.context_length(config),
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "trust_remote_code": config.trust_remote_code,
        "enforce_eager": config.enforce_eager,
        "tensor_parallel_size": config.tensor_parallel_size,
        "disable_log_stats": True,
        "limit_mm_per_prompt": dict(config.limit_mm_per_prompt),
        "max_num_batched_tokens": config.batch,
    }
    asked = {name: value for name, value in found.items() if value not in (None, "", 0, False, {})}
    return {**asked, **_of_adapter(config), "max_logprobs": -1}  # however many, the request's own limit holds


def _of_adapter(config: EngineConfig) -> dict[str, Any]:
    """Return the arguments for the YAML's adapter, with the rank that its folder names."""
    if not (names := adapters(config)):
        return {}
    described = read_json(Path(config.models_path) / names[0] / "adapter_config.json")
    rank = described.get("r")
    largest = next((each for each in LORA_RANKS if isinstance(rank, int) and rank <= each), None)
    if largest is None:
        raise ConfigError(
            f"Model {config.name}: the adapter {names[0]} has the rank {rank!r}, and {LORA_RANKS[-1]} is the most.",
            param="lora_adapter",
        )
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": largest}


def _of_options(config: EngineConfig) -> dict[str, Any]:
    flags = (split_flag(entry) for entry in config.options)
    return {name: _value(text) for name, text in flags if name not in NEEDLESS}


def _value(text: str) -> Any:
    """Read a number, a switch or an object; what is none of these is text."""
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false", "null") else text)
    except ValueError:
        return text


def _of_processors(config: EngineConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what suits a processor, for what nobody has said."""
    length = int(given.get("max_model_len") or 0)
    sequences = CPU_SEQUENCES
    return {
        "enforce_eager": True,  # compiling takes half a minute and a C++ compiler
        "kv_cache_memory_bytes": min(CPU_CACHE_BYTES, available_memory() // 4),
        "max_num_seqs": sequences,
        "max_num_batched_tokens": CPU_BATCH if given.get("runner") == "generate" else max(CPU_BATCH, length),
    }


def _unknown(name: str) -> str:
    near = get_close_matches(name, KNOWN, n=1)
    return f"vLLM has no engine argument {name!r}" + (f"; perhaps {near[0]!r} is meant" if near else "")
