"""From a model's YAML to this engine's parameters; what it cannot honour is refused by name.

Knows which key becomes which parameter, but not what the values do.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from localai_flask.backends.llama_cpp.model.adapters import Adapter
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.options.determinism import one_at_a_time
from localai_flask.backends.llama_cpp.options.key_checks import settle_keys, shares
from localai_flask.backends.llama_cpp.options.kinds import CACHE_TYPES, cache_type
from localai_flask.backends.llama_cpp.options.reader import defaults, read_entries
from localai_flask.backends.llama_cpp.options.table import ENGINE_OPTIONS, SPECULATION_OPTIONS
from localai_flask.backends.notes import heed
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import TRAINED
from localai_flask.errors import ConfigError
from localai_flask.machine import physical_cores
from localai_flask.settings import Settings
from localai_flask.sizes import parse_bytes
from localai_flask.user_folders import cache_folder

BATCH = 512
NUMA_WORDS = {"true": "distribute", "false": ""}
ROPE = (
    *("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow"),
    "yarn_orig_ctx",
)


@dataclass(frozen=True, kw_only=True)
class SpeculationOptions:
    """How to guess tokens ahead; `spec_type` names the ways, none of them if it is empty."""

    draft_model: Path | None
    spec_type: tuple[str, ...]
    spec_n_max: int | None
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
    """Tokens per request; `TRAINED`: as many as the model knows."""
    parallel: int | None
    n_batch: int
    n_ubatch: int | None
    threads: int
    threads_batch: int
    gpu_layers: int | None
    main_gpu: int | None
    tensor_split: tuple[float, ...]
    numa: str
    """A strategy of ggml's, or "" for none."""
    overrides: tuple[str, ...]
    adapters: tuple[Adapter, ...]
    flash_attention: str
    no_kv_offloading: bool
    rope_scaling: str
    rope: dict[str, float]
    """Values by the names of llama.cpp's context parameters; the model's own where there is none."""
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
    cache_disk_bytes: int
    prompt_cache_folder: Path
    """Where idle prompts are kept on disk."""
    prompt_cache_ro: bool
    """Whether nothing is written there."""
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
    cont_batching: bool
    """Whether requests join those that run."""
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
    mmproj: Path | None
    mmproj_use_gpu: bool
    image_min_tokens: int | None
    image_max_tokens: int | None
    verbosity: int | None
    models_path: Path = Path()
    """Where the adapters of requests lie."""
    deterministic: bool = False
    """Whether each request is computed as one that is alone, so that its answer is the same each time."""
    repack: bool = True
    """Whether weights may be stored anew in the order that the processor's fastest kernels want."""


def read_options(config: EngineConfig, settings: Settings) -> EngineOptions:
    """Read a model's YAML; the settings apply where it is silent.

    Logs what has no effect; raises `ConfigError` naming the first key or option that changes answers and cannot be
    honoured.
    """
    config, notes = settle_keys(config)
    given, more = read_entries(config.options, config.draft_model)
    heed([*notes, *more], config)
    values = defaults() | given
    n_batch = _positive(config, "batch") or BATCH
    threads = config.threads or settings.threads
    own: dict[str, Any] = {
        "context_size": _context_size(config, settings),
        "n_batch": n_batch,
        "n_ubatch": min(values["n_ubatch"], n_batch) if values["n_ubatch"] else None,
        "threads": threads,
        "threads_batch": _threads_batch(given.get("threads_batch"), threads),
        "gpu_layers": config.gpu_layers,
        "main_gpu": int(config.main_gpu) if config.main_gpu else None,
        "tensor_split": shares(config.tensor_split),
        "numa": NUMA_WORDS.get(config.numa, config.numa),
        "overrides": config.overrides,
        "adapters": _adapters(config),
        "flash_attention": config.flash_attention or "auto",
        "no_kv_offloading": config.no_kv_offloading,
        "rope_scaling": config.rope_scaling,
        "rope": {name: value for name in ROPE if (value := getattr(config, name)) is not None},
        "parallel": values["parallel"] or settings.llamacpp_parallel or None,
        "rpc_servers": values["rpc_servers"] or settings.llamacpp_grpc_servers,
        "load_mode": _load_mode(config.mmap, config.mmlock, values["direct_io"]),
        "cache_type_k": _cache_type(config, "cache_type_k"),
        "cache_type_v": _cache_type(config, "cache_type_v"),
        "embeddings": config.embeddings,
        "reranking": config.reranking,
        "n_keep": config.n_keep or 0,
        "mmproj": Path(config.models_path) / config.mmproj if config.mmproj else None,
        "speculation": _speculation(config, values),
        "cache_disk_bytes": given.get("cache_disk_bytes", parse_bytes(settings.prompt_cache_size)),
        "prompt_cache_folder": _prompt_cache_folder(config, settings),
        "prompt_cache_ro": config.prompt_cache_ro,
        "models_path": Path(config.models_path),
    }
    taken = {option.field: values[option.field] for option in ENGINE_OPTIONS}
    fields = taken | own
    return EngineOptions(**(one_at_a_time(config.name, given, fields) if config.deterministic else fields))


def _prompt_cache_folder(config: EngineConfig, settings: Settings) -> Path:
    if config.prompt_cache_path:
        return Path(config.models_path) / config.prompt_cache_path
    return Path(settings.prompt_cache_path) if settings.prompt_cache_path else cache_folder() / "prompts"


def _complain(model: str, complaint: str, param: str) -> ConfigError:
    return ConfigError(f"Model {model}: {complaint}.", param=param)


def _threads_batch(given: int | None, threads: int) -> int:
    """Read 0 and -1 as all cores, and give 0 if nobody has chosen."""
    if given is None:
        return threads
    return given if given > 0 else physical_cores()


def _cache_type(config: EngineConfig, key: str) -> int:
    text: str = getattr(config, key)
    return cache_type(text) if text else CACHE_TYPES["f32" if config.f16 is False else "f16"]


def _adapters(config: EngineConfig) -> tuple[Adapter, ...]:
    """Pair the adapters with their scales; one without a scale acts fully."""
    folder = Path(config.models_path)
    adapters = [Adapter(folder / config.lora_adapter, _scale(config.lora_scale))] if config.lora_adapter else []
    if len(config.lora_scales) > len(config.lora_adapters):
        raise _complain(config.name, "`lora_scales` has more entries than `lora_adapters`; remove some", "lora_scales")
    adapters += [
        Adapter(folder / file, _scale(scale)) for file, scale in zip_longest(config.lora_adapters, config.lora_scales)
    ]
    return tuple(adapters)


def _scale(scale: float | None) -> float:
    return 1.0 if scale is None else scale


def _speculation(config: EngineConfig, values: dict[str, Any]) -> SpeculationOptions:
    taken = {option.field: values[option.field] for option in SPECULATION_OPTIONS}
    draft = Path(config.models_path) / config.draft_model if "draft-simple" in taken["spec_type"] else None
    if config.n_draft:
        taken["spec_n_max"] = config.n_draft
    return SpeculationOptions(draft_model=draft, **taken)


def _context_size(config: EngineConfig, settings: Settings) -> int | None:
    if config.context_size != TRAINED:
        _positive(config, "context_size")
    return config.context_size or settings.context_size or None


def _positive(config: EngineConfig, key: str) -> int | None:
    value: int | None = getattr(config, key)
    if value is not None and value < 0:
        raise _complain(config.name, f"`{key}` is {value}; give a number above 0", key)
    return value


def _load_mode(mmap: bool | None, mlock: bool, direct_io: bool) -> int:
    if direct_io:
        return int(lib.LLAMA_LOAD_MODE_DIRECT_IO)
    if mlock:
        return int(lib.LLAMA_LOAD_MODE_MLOCK if mmap is False else lib.LLAMA_LOAD_MODE_MMAP_MLOCK)
    if mmap is None:
        return int(lib.LLAMA_LOAD_MODE_AUTO)
    return int(lib.LLAMA_LOAD_MODE_MMAP if mmap else lib.LLAMA_LOAD_MODE_NONE)
