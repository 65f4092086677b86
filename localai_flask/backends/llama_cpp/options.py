"""From a model's YAML to this engine's parameters; what it cannot honour is refused by name.

Knows which key becomes which parameter, but not what the values do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localai_flask.backends.llama_cpp.library import lib
from localai_flask.backends.llama_cpp.option_reader import complain, defaults, read_entries
from localai_flask.backends.llama_cpp.option_table import ENGINE_OPTIONS, SPECULATION_OPTIONS
from localai_flask.config.model import ModelConfig
from localai_flask.settings import Settings

BATCH = 512


@dataclass(frozen=True, kw_only=True)
class SpeculationOptions:
    """How to guess tokens ahead; `spec_type` names the ways, none of them if it is empty."""

    draft_model: Path | None
    spec_type: tuple[str, ...]
    spec_n_max: int
    spec_n_min: int
    spec_p_min: float
    spec_p_split: float
    spec_ngram_size_n: int
    spec_ngram_size_m: int
    spec_ngram_min_hits: int
    spec_ngram_mod_n_match: int
    spec_ngram_mod_n_min: int
    spec_ngram_mod_n_max: int
    spec_ngram_map_k_size_n: int
    spec_ngram_map_k_size_m: int
    spec_ngram_map_k_min_hits: int
    spec_ngram_map_k4v_size_n: int
    spec_ngram_map_k4v_size_m: int
    spec_ngram_map_k4v_min_hits: int
    lookup_cache_static: Path | None
    lookup_cache_dynamic: Path | None
    draft_gpu_layers: int | None
    draft_ctx_size: int | None
    draft_cache_type_k: int | None
    draft_cache_type_v: int | None
    draft_threads: int | None
    draft_threads_batch: int | None
    draft_cpu_moe: bool
    draft_n_cpu_moe: int
    draft_override_tensor: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How to load a model and run it; None and 0 leave the choice to the engine."""

    context_size: int | None
    parallel: int | None
    n_batch: int
    n_ubatch: int
    threads: int
    threads_batch: int
    gpu_layers: int | None
    load_mode: int
    cache_type_k: int
    """A number of ggml.h's `ggml_type`."""
    cache_type_v: int
    embeddings: bool
    reranking: bool
    pooling_type: str | None
    embd_normalize: int
    speculation: SpeculationOptions

    cache_ram_bytes: int | None
    """None: no limit."""
    ctx_checkpoints: int
    checkpoint_min_step: int
    cache_reuse: int
    context_shift: bool
    n_keep: int
    """Tokens at the beginning that a context shift keeps, at least; -1: the whole prompt."""
    cache_idle_slots: bool
    slot_similarity: float
    n_rs_seq: int

    swa_full: bool
    kv_unified: bool
    warmup: bool
    check_tensors: bool
    no_op_offload: bool
    fit_params: bool
    fit_target_bytes: tuple[int, ...]
    fit_context: int
    devices: tuple[str, ...]
    split_mode: str | None
    override_tensor: tuple[str, ...]
    cpu_moe: bool
    n_cpu_moe: int
    rpc_servers: tuple[str, ...]
    verbosity: int | None
    reasoning_budget: int | None


def read_options(config: ModelConfig, settings: Settings) -> EngineOptions:
    """Read a model's YAML; the settings apply where it is silent.

    Raises `ConfigError` naming the first key or option that cannot be honoured.
    """
    if config.dtype:
        raise complain(
            config.name, "a GGUF file has its own types; remove `dtype`, and use `f16: false` for a 32-bit cache"
        )
    given = read_entries(config.options, config.name)
    values = defaults() | given
    n_batch = _positive(config, "batch") or BATCH
    cache_type = lib.GGML_TYPE_F32 if config.f16 is False else lib.GGML_TYPE_F16
    threads = config.threads or settings.threads
    own: dict[str, Any] = {
        "context_size": _positive(config, "context_size") or settings.context_size or None,
        "n_batch": n_batch,
        "n_ubatch": min(values["n_ubatch"] or n_batch, n_batch),
        "threads": threads,
        "threads_batch": max(given.get("threads_batch", threads), 0),
        "gpu_layers": config.gpu_layers,
        "load_mode": _load_mode(config.mmap, config.mmlock, values["direct_io"]),
        "cache_type_k": cache_type,
        "cache_type_v": cache_type,
        "embeddings": config.embeddings,
        "reranking": config.reranking,
        "n_keep": config.n_keep or 0,
        "speculation": _speculation(config, values),
    }
    taken = {option.field: values[option.field] for option in ENGINE_OPTIONS if option.field != "direct_io"}
    return EngineOptions(**(taken | own))


def _speculation(config: ModelConfig, values: dict[str, Any]) -> SpeculationOptions:
    taken = {option.field: values[option.field] for option in SPECULATION_OPTIONS}
    draft = Path(config.models_path) / config.draft_model if config.draft_model else None
    if draft is not None and not taken["spec_type"]:
        taken["spec_type"] = ("draft-simple",)
    if config.n_draft:
        taken["spec_n_max"] = config.n_draft
    return SpeculationOptions(draft_model=draft, **taken)


def _positive(config: ModelConfig, key: str) -> int | None:
    value: int | None = getattr(config, key)
    if value is not None and value < 0:
        raise complain(config.name, f"`{key}` is {value}; give a number above 0", key)
    return value


def _load_mode(mmap: bool | None, mlock: bool, direct_io: bool) -> int:
    if direct_io:
        return int(lib.LLAMA_LOAD_MODE_DIRECT_IO)
    if mlock:
        return int(lib.LLAMA_LOAD_MODE_MLOCK if mmap is False else lib.LLAMA_LOAD_MODE_MMAP_MLOCK)
    if mmap is None:
        return int(lib.LLAMA_LOAD_MODE_AUTO)
    return int(lib.LLAMA_LOAD_MODE_MMAP if mmap else lib.LLAMA_LOAD_MODE_NONE)
