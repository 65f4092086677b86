"""Keys of a model's YAML whose values this engine cannot use, found without its library.

Those of speed and memory are passed over with a note; what changes the answers is a fault.
"""

from __future__ import annotations

import math

from msgspec import structs

from localai_flask.backends.llama_cpp.options.kinds import UNQUANTIZED, cache_type
from localai_flask.backends.llama_cpp.options.reader import read_entries
from localai_flask.backends.notes import NO_EFFECT, Note, unread_keys
from localai_flask.config.model import EngineConfig
from localai_flask.config.model_yaml.paths import leads_out

KEYS = frozenset(
    (
        *("context_size", "threads", "batch", "gpu_layers", "f16", "mmap", "mmlock", "tensor_split", "main_gpu"),
        *("numa", "flash_attention", "no_kv_offloading", "cache_type_k", "cache_type_v", "dtype", "embeddings"),
        *("reranking", "prompt_cache_path", "prompt_cache_ro"),
        *("rope_scaling", "rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast"),
        *("yarn_beta_slow", "yarn_orig_ctx", "lora_adapter", "lora_scale", "lora_adapters", "lora_scales", "overrides"),
        *("draft_model", "n_draft", "n_keep", "trust_pickles", "mmproj", "limit_mm_per_prompt", "deterministic"),
    )
)
"""The keys that this engine reads, or has words of its own about."""


def check(config: EngineConfig) -> list[Note]:
    """Find all that can be said of a model's YAML before it is loaded."""
    unread = unread_keys(config, "llama-cpp", KEYS)
    return [*unread, *settle_keys(config)[1], *read_entries(config.options, config.draft_model).notes]


def settle_keys(config: EngineConfig) -> tuple[EngineConfig, list[Note]]:
    """Take out of a config what has no effect here."""
    problems = {
        "dtype": "is for other engines, as a GGUF file has its own types" if config.dtype else "",
        "main_gpu": _main_gpu_problem(config.main_gpu),
        "tensor_split": _tensor_split_problem(config.tensor_split),
        "prompt_cache_path": "leads out of the models folder" if leads_out(config.prompt_cache_path) else "",
        "cache_type_k": _cache_type_problem(config.cache_type_k),
        "cache_type_v": _cache_type_problem(config.cache_type_v),
    }
    found = {key: said for key, said in problems.items() if said}
    notes = [Note((key,), f"`{key}: {getattr(config, key)}` {said}; {NO_EFFECT}") for key, said in found.items()]
    config = structs.replace(config, **dict.fromkeys(found, ""))
    is_quantized = bool(config.cache_type_v) and cache_type(config.cache_type_v) not in UNQUANTIZED
    if is_quantized and config.flash_attention in ("off", "false"):
        said = f"`flash_attention: {config.flash_attention}` has no effect beside `cache_type_v: {config.cache_type_v}`"
        return structs.replace(config, flash_attention=""), [*notes, Note(("flash_attention",), said)]
    return config, notes


def shares(tensor_split: str) -> tuple[float, ...]:
    """Read shares of devices, separated by commas or slashes; raise `ValueError` if they are none."""
    read = tuple(float(part) for part in tensor_split.replace("/", ",").split(",")) if tensor_split else ()
    if read and (min(read) < 0 or not 0 < sum(read) < math.inf):
        raise ValueError(tensor_split)
    return read


def _main_gpu_problem(main_gpu: str) -> str:
    if not main_gpu or main_gpu.isdecimal():
        return ""
    if main_gpu.lower().startswith(("auto", "multi", "hetero", "npu", "gpu", "cpu")):
        return "is a device of `backend: openvino`; llama.cpp takes the number of a GPU"
    return "is a device of other engines; llama.cpp takes the number of a GPU"


def _tensor_split_problem(tensor_split: str) -> str:
    try:
        shares(tensor_split)
    except ValueError:
        return "is no list of shares such as 3,1"
    return ""


def _cache_type_problem(name: str) -> str:
    try:
        cache_type(name or "f16")
    except ValueError as error:
        return str(error)
    return ""
