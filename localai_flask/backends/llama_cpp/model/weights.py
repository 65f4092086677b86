"""From options to the weights of a model: on which devices they lie, and what is changed about them while they load.

Owns the parameters of the C call and everything they point to for as long as it runs.
"""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.llama_cpp.model.devices import NONE, choose_devices, cpu_buffer_type, find_buffer_type
from localai_flask.backends.llama_cpp.model.library import LogCapture, lib
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.rpc.client import connect
from localai_flask.errors import ConfigError, ModelLoadFailed, OutOfMemory

log = logging.getLogger(__name__)

EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""Names of the tensors that hold a layer's experts."""
SPLIT_MODES = {
    "none": lib.LLAMA_SPLIT_MODE_NONE,
    "layer": lib.LLAMA_SPLIT_MODE_LAYER,
    "row": lib.LLAMA_SPLIT_MODE_ROW,
    "tensor": lib.LLAMA_SPLIT_MODE_TENSOR,
}
NUMA = {"distribute": 1, "isolate": 2, "numactl": 3}  # ggml_numa_strategy
NO_MEMORY = re.compile(r"out of memory|(unable|failed) to allocate (?!CPU)\w+ buffer")
"""What llama.cpp says when weights do not fit onto a GPU."""
_LONGEST_TEXT = 127  # bytes of a key or text in llama_model_kv_override, which ends with a zero


class _BufferOverride(ctypes.Structure):
    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def load_weights(path: Path, options: EngineOptions, progress: LoadProgress, capture: LogCapture) -> Any:
    """Load a GGUF file and give the C handle; raise `ConfigError`, `ModelLoadFailed` or `OutOfMemory`."""
    if options.numa:
        lib.llama_numa_init(NUMA[options.numa])
    params, kept = _params(options)

    def report(fraction: float, _: Any) -> bool:
        progress(fraction)
        return True

    params.progress_callback = callback = lib.llama_progress_callback(report)
    handle = lib.llama_model_load_from_file(str(path).encode(), params)
    del callback, kept  # until here: the library reads them during the load only
    if handle is None:
        kind = OutOfMemory if is_out_of_memory(capture.cause()) else ModelLoadFailed
        raise kind(_explain(path, capture))
    return handle


def is_out_of_memory(cause: str) -> bool:
    """Return whether the library failed for want of memory, be it the processor's or a GPU's."""
    return re.search(r"alloc|out of memory", cause, re.IGNORECASE) is not None


def _params(options: EngineOptions) -> tuple[Any, list[Any]]:
    """Make the parameters, and list the objects that they point to."""
    params = lib.llama_model_default_params()
    if options.gpu_layers is not None:
        params.n_gpu_layers = options.gpu_layers
    if options.split_mode is not None:
        params.split_mode = SPLIT_MODES[options.split_mode]
    if options.main_gpu is not None:
        params.main_gpu = options.main_gpu
    params.load_mode = options.load_mode
    params.check_tensors = options.check_tensors
    params.use_extra_bufts = options.repack
    remote = connect(options.rpc_servers)
    # With none of its layers a GPU would still be sent the weights anew for each part of a prompt.
    names = options.devices or ((NONE,) if options.gpu_layers == 0 else ())
    devices = choose_devices(names, remote)
    kept: list[Any] = []
    if devices is not None:
        array = (ctypes.c_void_p * (len(devices) + 1))(*devices, None)
        params.devices = ctypes.cast(array, ctypes.c_void_p)
        kept.append(array)
    if options.tensor_split:
        params.tensor_split = shares = _shares(options.tensor_split)
        kept.append(shares)
    if overrides := _buffer_overrides(options, remote):
        params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
        kept.append(overrides)
    if options.overrides:
        params.kv_overrides = values = _metadata_overrides(options.overrides)
        kept.append(values)
    return params, kept


def _shares(shares: Sequence[float]) -> Any:
    most = lib.llama_max_devices()
    if len(shares) > most:
        raise ConfigError(f"`tensor_split` has {len(shares)} shares, and llama.cpp takes {most}.", param="tensor_split")
    return (ctypes.c_float * most)(*shares)


def _buffer_overrides(options: EngineOptions, remote: Sequence[int]) -> Any:
    pairs: list[tuple[str, int]] = []
    for entry in options.override_tensor:
        pattern, _, name = entry.rpartition("=")
        if not pattern:
            raise ConfigError(
                f"The option override_tensor:{entry} is not written as pattern=memory; correct it.", param="options"
            )
        pairs.append((pattern, find_buffer_type(name.strip(), remote)))
    layers = [f"blk\\.{layer}{EXPERTS}" for layer in range(options.n_cpu_moe)]
    pairs += [(pattern, cpu_buffer_type()) for pattern in ([EXPERTS] if options.cpu_moe else layers)]
    if not pairs:
        return None
    for pattern, _ in pairs:
        _check_pattern(pattern)
    entries = [_BufferOverride(pattern.encode(), buffer_type) for pattern, buffer_type in pairs]
    return (_BufferOverride * (len(entries) + 1))(*entries)  # an empty one ends the list


def _check_pattern(pattern: str) -> None:
    """Refuse what is no regular expression: the library would end the process."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"The option override_tensor has the pattern {pattern!r}, which is no regular expression: {error}.",
            param="options",
        ) from None


def _metadata_overrides(entries: Iterable[str]) -> Any:
    values = [_metadata_override(entry) for entry in entries]
    return (lib.llama_model_kv_override * (len(values) + 1))(*values)


def _metadata_override(entry: str) -> Any:
    key, _, rest = entry.partition("=")
    kind, _, text = rest.partition(":")
    value = lib.llama_model_kv_override(key=key.strip().encode())
    try:
        match kind.strip():
            case "int":
                value.tag, value.value.val_i64 = lib.LLAMA_KV_OVERRIDE_TYPE_INT, int(text)
            case "float":
                value.tag, value.value.val_f64 = lib.LLAMA_KV_OVERRIDE_TYPE_FLOAT, float(text)
            case "bool":
                value.tag = lib.LLAMA_KV_OVERRIDE_TYPE_BOOL
                value.value.val_bool = {"true": True, "false": False}[text.strip()]
            case "str":
                value.tag, value.value.val_str = lib.LLAMA_KV_OVERRIDE_TYPE_STR, text.encode()
            case _:
                raise ValueError(kind)
    except (ValueError, KeyError):
        raise _bad_override(entry) from None
    if not key or max(len(key.encode()), len(text.encode())) > _LONGEST_TEXT:
        raise _bad_override(entry)
    return value


def _bad_override(entry: str) -> ConfigError:
    return ConfigError(
        f"`overrides` has the entry {entry!r}; write key=type:value with the type int, float, bool or str and at most "
        f"{_LONGEST_TEXT} bytes of key and of text.",
        param="overrides",
    )


def _explain(path: Path, capture: LogCapture) -> str:
    cause = capture.cause()
    if unknown := re.search(r"unknown model architecture: '(.*)'", cause):
        return (
            f"{path} has the architecture {unknown[1]!r}, which this version of llama.cpp does not know; "
            "upgrade llama-cpp-python or choose another model."
        )
    if NO_MEMORY.search(cause):
        return (
            f"llama.cpp cannot load {path}: {cause}; end what else uses the GPU, or lower `gpu_layers`, which leaves "
            "layers to the processor (left out, as many are chosen as fit)."
        )
    if "main_gpu" in cause or "SPLIT_MODE" in cause:
        return f"llama.cpp cannot load {path}: {cause}; correct `main_gpu` or the option split_mode."
    return f"llama.cpp cannot load {path}: {cause}; download the file again or choose another."
