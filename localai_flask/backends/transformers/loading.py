"""From a folder to a model in memory: checks what the YAML asks, reads tokenizer and weights, and sizes the KV cache.

Every refusal is one sentence that names the cause and what to do; knows no request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError  # type: ignore[import-not-found]
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.notes import heed
from localai_flask.backends.transformers import key_checks
from localai_flask.backends.transformers.devices import choose_device, free_bytes, half_precision
from localai_flask.backends.transformers.tokens import Tokens
from localai_flask.config import traits
from localai_flask.config.files.bounded import read_json
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed
from localai_flask.generation import ModelInfo

LIBRARY = f"transformers {transformers.__version__}"
SEQUENCES = 8
CACHE_MIB = 512
PAGE_TOKENS = 32
BATCH_TOKENS = 256
MEMORY_SHARE = 0.5
"""Of the memory that is free once the weights are loaded, the part that the KV cache may take at most."""
READ_BYTES = 64 << 20
DTYPES = {
    "float32": torch.float32,
    "float": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "half": torch.float16,
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
UNREADABLE = (OSError, ValueError, ImportError, RuntimeError, KeyError, AttributeError, SafetensorError)
"""What the library raises about folders that it cannot make a model of."""


@dataclass(frozen=True)
class CacheSize:
    """How the KV cache is laid out; all in tokens but the last."""

    context_length: int
    sequences: int
    blocks: int
    batch_tokens: int
    bytes: int


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


def prepare(config: EngineConfig, folder: Path, progress: LoadProgress) -> None:
    """Set the library up, and bring the weights into the page cache."""
    if config.threads:
        torch.set_num_threads(config.threads)
    transformers.utils.logging.disable_progress_bar()
    read_ahead(folder, progress)


def read_tokenizer(config: EngineConfig, folder: Path) -> Any:
    """Read the tokenizer; raise `ModelLoadFailed` if the library cannot."""
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except UNREADABLE as error:
        raise ModelLoadFailed(f"{_about(config)} cannot read the tokenizer in {folder}: {first_line(error)}") from error


def check_config(config: EngineConfig) -> None:
    """Log what has no effect; refuse by name what this engine cannot honour."""
    heed(key_checks.check(config), config)


def whole_option(config: EngineConfig, default: int, *names: str) -> int:
    """Read an option that is a number above 0."""
    wanted = config.option(*names) or str(default)
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ConfigError(f"{_about(config)} needs a whole number for {names[0]}, not {wanted!r}.", param="options")
    return int(wanted)


def check_folder(config: EngineConfig) -> Path:
    """Find the folder and see that it holds a model which the library knows."""
    folder = config.model_path
    if not config.parameters.model or not folder.exists():
        raise ConfigError(f"{_about(config)} finds no folder {folder}; correct `model`.", param="parameters.model")
    if not folder.is_dir():
        raise ConfigError(
            f"{_about(config)} needs a folder, but {folder} is a file; for a .gguf file use `backend: llama-cpp`.",
            param="parameters.model",
        )
    if not (folder / "config.json").exists():
        raise ConfigError(f"{_about(config)} finds no config.json in {folder}; download the whole model.")
    described = read_json(folder / "config.json")
    kind = described.get("model_type")
    if not isinstance(kind, str):
        raise ModelLoadFailed(f"{_about(config)} finds no model_type in {folder}/config.json; download it again.")
    if kind not in CONFIG_MAPPING:
        advice = "as code that comes with a model is never run" if "auto_map" in described else "or upgrade the package"
        raise ModelLoadFailed(f"{LIBRARY} does not know the architecture {kind!r}; use another model, {advice}.")
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise ModelLoadFailed(f"{_about(config)} finds no tokenizer in {folder}; add the model's {TOKENIZER_FILES[0]}.")
    return folder


def read_ahead(folder: Path, progress: LoadProgress) -> None:
    """Bring the weights into the page cache: that can take minutes, in which the library itself tells nothing."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    total, done = sum(path.stat().st_size for path in files), 0
    for path in files:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(READ_BYTES):
                done += len(chunk)
                progress(0.8 * done / total)


def read_weights(config: EngineConfig, folder: Path, device: torch.device, kind: Any, unused: str = "") -> Any:
    """Make a model of one of the library's kinds, in the wanted number format.

    Raises `ModelLoadFailed`, also if the files lack a weight, unless its name begins with `unused`.
    """
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=choose_dtype(config, device),
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        model.to(device)
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(config, device) from error
    except UNREADABLE as error:
        raise ModelLoadFailed(f"{_about(config)} cannot load {folder}: {first_line(error)}") from error
    missing = sorted(name for name in report["missing_keys"] if not (unused and name.startswith(unused)))
    if missing:  # the library would fill them with random numbers
        raise ModelLoadFailed(
            f"{_about(config)} misses {len(missing)} weights in {folder}, such as {missing[0]}; download it again."
        )
    return model.eval()


def check_batching(model: Any) -> None:
    """Raise `ModelLoadFailed` for a model whose attention takes no paged cache."""
    if not model.is_backend_compatible():  # it would run, and each token would see the wrong others
        raise ModelLoadFailed(
            f"{LIBRARY} cannot batch the architecture {model.config.model_type!r}, as its attention takes no paged "
            "cache; use another model."
        )


def _out_of_memory(config: EngineConfig, device: torch.device) -> ModelLoadFailed:
    """Return the error for a model that its GPU cannot hold."""
    return ModelLoadFailed(
        f"{_about(config)} cannot put the weights on {device}: they do not fit into {free_bytes(device) >> 20} MiB; "
        "end what else uses the GPU, choose another with `main_gpu`, or write `main_gpu: cpu`."
    )


def choose_dtype(config: EngineConfig, device: torch.device) -> torch.dtype | str:
    """Choose `dtype` if the YAML has one, else 16 bits with `f16` and 32 without; on GPUs the file's own by default."""
    if not config.dtype and config.f16 is not None:
        return half_precision(device) if config.f16 else torch.float32
    if not config.dtype and device.type == "cpu":
        return torch.float32
    if config.dtype in ("", "auto"):
        return "auto"
    if config.dtype not in DTYPES:
        known = ", ".join(("auto", *DTYPES))
        raise ConfigError(f"{_about(config)} has no dtype {config.dtype!r}; use one of: {known}.", param="dtype")
    return DTYPES[config.dtype]


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
            f"{_about(config)} needs {pages * page_bytes >> 20} MiB of KV cache for one request of {context} tokens, "
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
            f"{_about(config)} cannot give a context of {config.context_size} tokens, as the model was made for "
            f"{trained}; lower `context_size`.",
            param="context_size",
        )
    return traits.choose_context(config.context_size, trained)


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


def _about(config: EngineConfig) -> str:
    return f"Model {config.name}: the transformers backend"


def first_line(error: BaseException) -> str:
    """Shorten what the library says about a failure."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
