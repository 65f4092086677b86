"""From a model's YAML to this engine's parameters; what it cannot honour is refused by name.

Knows the option names of LocalAI's llama.cpp table, but not what the values do.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from localai_flask.backends.llama_cpp.library import lib
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError

BATCH = 512

HONOURED = {
    "parallel": "parallel",
    "n_parallel": "parallel",
    "n_ubatch": "ubatch",
    "ubatch": "ubatch",
    "threads_batch": "threads_batch",
    "n_threads_batch": "threads_batch",
    "check_tensors": "check_tensors",
    "no_op_offload": "no_op_offload",
    "swa_full": "swa_full",
    "warmup": "warmup",
    "gpu": "gpu",  # says nothing: `gpu_layers` decides
}
"""Option, in all its spellings, to the name under which it is read below."""

SETTLED = {
    "use_jinja": "true",
    "jinja": "true",
    "cont_batching": "true",
    "continuous_batching": "true",
    "kv_unified": "true",
    "unified_kv": "true",
    "context_shift": "false",
    "cache_ram": "0",
    "n_cache_reuse": "0",
    "cache_reuse": "0",
    "fit_params": "false",
    "fit": "false",
    "direct_io": "false",
    "use_direct_io": "false",
    "cache_idle_slots": "false",
    "idle_slots_cache": "false",
    "n_ctx_checkpoints": "0",
    "ctx_checkpoints": "0",
    "cpu_moe": "false",
    "n_cpu_moe": "0",
    "n_rs_seq": "0",
    "rs_seq": "0",
}
"""Options that this engine has settled: the one value that describes what it does."""

_UNSUPPORTED = """
grpc_servers rpc_servers fit_params_target fit_target fit_params_min_ctx fit_ctx slot_prompt_similarity sps
device devices split_mode sm checkpoint_min_step checkpoint_min_spacing checkpoint_every_nt
checkpoint_every_n_tokens pooling_type pooling embd_normalize embedding_normalize verbosity reasoning_format
enable_reasoning reasoning_budget prefill_assistant mmproj_use_gpu mmproj_offload image_min_tokens
image_max_tokens override_tensor tensor_buft_overrides spec_type speculative_type spec_n_max draft_max
spec_n_min draft_min spec_p_min draft_p_min spec_p_split spec_ngram_size_n ngram_size_n spec_ngram_size_m
ngram_size_m spec_ngram_min_hits ngram_min_hits spec_lookup_cache_static lookup_cache_static
spec_lookup_cache_dynamic lookup_cache_dynamic draft_gpu_layers draft_ctx_size draft_cache_type_k
draft_cache_type_v draft_threads draft_threads_batch draft_cpu_moe draft_n_cpu_moe draft_override_tensor
"""
UNSUPPORTED = frozenset(_UNSUPPORTED.split())
"""Known names that this engine does not honour."""

_TRUE, _FALSE = ("true", "1", "yes", "on", "enabled"), ("false", "0", "no", "off", "disabled")


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How to load a model; None and 0 leave the choice to the engine."""

    context_size: int | None
    parallel: int | None
    n_batch: int
    n_ubatch: int
    threads: int
    threads_batch: int
    gpu_layers: int | None
    load_mode: int
    cache_type: int
    check_tensors: bool
    op_offload: bool
    swa_full: bool
    warmup: bool


def read_options(config: ModelConfig, *, default_context: int, default_threads: int) -> EngineOptions:
    """Read a model's YAML; the defaults apply where it is silent.

    Raises `ConfigError` naming the first key or option that cannot be honoured.
    """
    reader = _Reader(config)
    n_batch = reader.positive("batch", config.batch) or BATCH
    threads = config.threads or default_threads
    threads_batch = reader.number("threads_batch")
    return EngineOptions(
        context_size=reader.positive("context_size", config.context_size) or default_context or None,
        parallel=reader.number("parallel", least=1),
        n_batch=n_batch,
        n_ubatch=min(reader.number("ubatch", least=1) or n_batch, n_batch),
        threads=max(threads, 0),
        threads_batch=max(threads if threads_batch is None else threads_batch, 0),
        gpu_layers=config.gpu_layers,
        load_mode=_load_mode(config.mmap, config.mmlock),
        cache_type=lib.GGML_TYPE_F32 if config.f16 is False else lib.GGML_TYPE_F16,
        check_tensors=reader.flag("check_tensors", False),
        op_offload=not reader.flag("no_op_offload", False),
        swa_full=reader.flag("swa_full", False),
        warmup=reader.flag("warmup", True),
    )


def _load_mode(mmap: bool | None, mlock: bool) -> int:
    if mlock:
        return int(lib.LLAMA_LOAD_MODE_MLOCK if mmap is False else lib.LLAMA_LOAD_MODE_MMAP_MLOCK)
    if mmap is None:
        return int(lib.LLAMA_LOAD_MODE_AUTO)
    return int(lib.LLAMA_LOAD_MODE_MMAP if mmap else lib.LLAMA_LOAD_MODE_NONE)


class _Reader:
    """Reads one config's `options:` and words the complaints about it."""

    def __init__(self, config: ModelConfig):
        self.name = config.name
        self.values: dict[str, str] = {}
        for entry in config.options:
            self._take(entry)
        if config.embeddings:
            raise self._error("the llama-cpp backend does not compute embeddings; remove `embeddings`")
        if config.dtype:
            raise self._error("a GGUF file has its own types; remove `dtype`, and use `f16: false` for a 32-bit cache")

    def positive(self, key: str, value: int | None) -> int | None:
        if value is not None and value < 0:
            raise self._error(f"`{key}` is {value}; give a number above 0")
        return value

    def number(self, option: str, least: int | None = None) -> int | None:
        text = self.values.get(option)
        if text is None:
            return None
        try:
            value = int(text)
        except ValueError:
            raise self._error(f"the option {option}:{text} is not a whole number") from None
        if least is not None and value < least:
            raise self._error(f"the option {option}:{text} is too small; give at least {least}")
        return value

    def flag(self, option: str, default: bool) -> bool:
        text = self.values.get(option)
        if text is None:
            return default
        if text.lower() not in _TRUE + _FALSE:
            raise self._error(f"the option {option}:{text} is neither true nor false")
        return text.lower() in _TRUE

    def _take(self, entry: str) -> None:
        name, _, value = (part.strip() for part in entry.partition(":"))
        value = value or "true"
        if name in HONOURED:
            self.values[HONOURED[name]] = value
        elif name in SETTLED:
            if _plain(value) != _plain(SETTLED[name]):
                raise self._error(
                    f"the llama-cpp backend does not support the option {name}:{value}; "
                    f"remove it or write {name}:{SETTLED[name]}"
                )
        elif name in UNSUPPORTED:
            raise self._error(f"the llama-cpp backend does not support the option {name!r}; remove it")
        else:
            near = get_close_matches(name, [*HONOURED, *SETTLED, *UNSUPPORTED], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; remove it"
            raise self._error(f"the llama-cpp backend has no option {name!r}{hint}")

    def _error(self, complaint: str) -> ConfigError:
        return ConfigError(f"Model {self.name}: {complaint}{'' if complaint.endswith('?') else '.'}", param="options")


def _plain(value: str) -> str:
    """Give all spellings of a truth value one form."""
    low = value.lower()
    return "true" if low in _TRUE else "false" if low in _FALSE else low
