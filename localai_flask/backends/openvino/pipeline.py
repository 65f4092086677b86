"""openvino-genai's batching pipeline on a device: its properties, its KV cache, and a first token to see that it runs.

The library takes half of the memory for its cache unless it is told how many blocks it may have.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino_genai import ContinuousBatchingPipeline, GenerationConfig, SchedulerConfig

from localai_flask.backends.hugging_face.description import Description
from localai_flask.backends.hugging_face.folder import about
from localai_flask.backends.notes import whole_option
from localai_flask.backends.openvino.failures import reason
from localai_flask.backends.openvino.key_checks import PROPERTIES
from localai_flask.config import traits
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed
from localai_flask.machine import available_memory

SEQUENCES = 8
CACHE_MIB = 512
BATCH_TOKENS, LEAST_BATCH = 256, 16
STEP_S, PROBE_TOKENS = 1.0, 64
"""How long a step may take; the library holds the interpreter's lock meanwhile, and a silent worker is replaced.

Where a prompt of `PROBE_TOKENS` shows that it would take longer, a step has fewer tokens.
"""
MEMORY_SHARE = 0.5
"""Of the free memory, the part that the KV cache may take at most."""
CPU_BLOCK_TOKENS, GPU_BLOCK_TOKENS = 32, 16
PRECISIONS = {
    "float32": "f32",
    "float": "f32",
    "bfloat16": "bf16",
    "float16": "f16",
    "half": "f16",
    "auto": "",
    "": "",
}
CPU = "CPU"
EXACT_CACHE = {"EXECUTION_MODE_HINT": "ACCURACY", "KV_CACHE_PRECISION": "f32"}
"""Properties, each of which gives the numbers of the cache 32 bits."""


@dataclass(frozen=True)
class CacheSize:
    """How many tokens a request may have, how many requests run at once, and the blocks that these share."""

    context_length: int
    sequences: int
    blocks: int


def choose_device(config: EngineConfig) -> str:
    """Return the device in OpenVINO's words: a number is that GPU, nothing the best that there is."""
    wanted = config.main_gpu.strip()
    return f"GPU.{wanted}" if wanted.isdecimal() else wanted or "AUTO"


def device_properties(config: EngineConfig) -> dict[str, Any]:
    """Return what the YAML wants of the device; OpenVINO computes in 16 bits by itself where a device is fast at it."""
    properties: dict[str, Any] = {}
    if config.dtype not in PRECISIONS:
        raise ConfigError(
            f"{about(config)} has no dtype {config.dtype!r}; use one of: {', '.join(filter(None, PRECISIONS))}.",
            param="dtype",
        )
    precision = PRECISIONS[config.dtype] or ("f32" if config.f16 is False and not config.dtype else "")
    if precision:
        properties["INFERENCE_PRECISION_HINT"] = precision
    if precision == "f32":
        properties["EXECUTION_MODE_HINT"] = "ACCURACY"  # the KV cache has 16 bits otherwise
    if config.threads:
        properties["INFERENCE_NUM_THREADS"] = config.threads
    for option, name in PROPERTIES.items():
        if (value := config.option(option)) is not None:
            properties[name] = value if option.endswith("precision") else value.upper()
    return properties | config.engine_args


def size_cache(
    config: EngineConfig, description: Description, trained: int, properties: dict[str, Any], device: str
) -> CacheSize:
    """Make room for one whole context at least, and for one of each request at most; in between the wish decides."""
    if config.context_size and trained and config.context_size > trained:
        raise ConfigError(
            f"{about(config)} cannot give a context of {config.context_size} tokens, as the model was made for "
            f"{trained}; lower `context_size`.",
            param="context_size",
        )
    context = traits.choose_context(config.context_size, trained)
    sequences = whole_option(config, SEQUENCES, "parallel", "n_parallel")
    wanted = whole_option(config, CACHE_MIB, "kv_cache_mib") << 20
    on_cpu = device == CPU or openvino.Core().available_devices == [CPU]
    block = CPU_BLOCK_TOKENS if on_cpu else GPU_BLOCK_TOKENS
    number_bytes = 4 if EXACT_CACHE.items() & properties.items() else 2
    block_bytes = block * (description.cached_numbers or 1) * number_bytes
    blocks, room = math.ceil(context / block) + 1, int(MEMORY_SHARE * available_memory())
    if blocks * block_bytes > room:
        raise ConfigError(
            f"{about(config)} needs {blocks * block_bytes >> 20} MiB of KV cache for one request of {context} tokens, "
            f"but only {room >> 20} MiB can be used; lower `context_size`.",
            param="context_size",
        )
    return CacheSize(context, sequences, max(blocks, min(blocks * sequences, min(wanted, room) // block_bytes)))


def make_pipeline(
    config: EngineConfig, folder: Path, cache: CacheSize, properties: dict[str, Any], device: str
) -> ContinuousBatchingPipeline:
    """Load the model and generate with it, since some devices take one that they cannot run (`MULTI:`).

    Raises `ModelLoadFailed` with the library's words.
    """

    def load(batch: int) -> ContinuousBatchingPipeline:
        scheduling = SchedulerConfig()
        scheduling.cache_size = 0
        scheduling.num_kv_blocks = cache.blocks
        scheduling.max_num_seqs = cache.sequences
        scheduling.max_num_batched_tokens = max(batch, cache.sequences)
        scheduling.dynamic_split_fuse = True
        scheduling.enable_prefix_caching = True
        return ContinuousBatchingPipeline(folder, scheduling, device, properties)

    try:
        pipeline = load(config.batch or BATCH_TOKENS)
        _time_prompt(pipeline, [0])  # what is made at first use takes its time
        seconds = _time_prompt(pipeline, list(range(1, 1 + min(PROBE_TOKENS, cache.context_length - 1))))
        batch = int(STEP_S * PROBE_TOKENS / seconds)
        if not config.batch and batch < BATCH_TOKENS:
            del pipeline  # before there are two
            pipeline = load(max(batch, LEAST_BATCH))
            _time_prompt(pipeline, [0])
    except RuntimeError as error:
        raise not_loaded(config, folder, device, error) from error
    return pipeline


def _time_prompt(pipeline: ContinuousBatchingPipeline, ids: list[int]) -> float:
    """Generate one token behind a prompt; return how many seconds that takes."""
    begun = time.monotonic()
    wanted = GenerationConfig(max_new_tokens=1, apply_chat_template=False, eos_token_id=-1)
    pipeline.add_request(0, openvino.Tensor(np.array([ids], np.int64)), wanted)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return time.monotonic() - begun


def not_loaded(config: EngineConfig, folder: Path, device: str, error: RuntimeError) -> ModelLoadFailed:
    """Return what is said of a model that the library cannot load on a device."""
    return ModelLoadFailed(
        f"{about(config)} cannot load {folder} on {device}: {reason(error)}. OpenVINO has these devices here: "
        f"{', '.join(openvino.Core().available_devices)}; choose with `main_gpu`."
    )
