"""The weights of a folder in memory, on a device and in a number format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from localai_flask.backends.hugging_face.folder import about
from localai_flask.backends.torch_devices import free_bytes, half_precision
from localai_flask.backends.transformers.loading.failures import UNREADABLE, load_failure
from localai_flask.backends.transformers.loading.quantization import choose_quantization, stored_method
from localai_flask.config.files.bounded import read_json
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed

DTYPES = {
    "float32": torch.float32,
    "float": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "half": torch.float16,
}


def read_weights(config: EngineConfig, folder: Path, device: torch.device, kind: Any, unused: str = "") -> Any:
    """Make a model of one of the library's kinds, in the wanted number format.

    Raises `ModelLoadFailed`, also if the files lack a weight, unless its name begins with `unused`.
    """
    described = read_json(folder / "config.json")
    dtype = choose_dtype(config, device)
    quantization = choose_quantization(config, described, device, dtype)
    placed: dict[str, Any] = {}
    if quantization is not None:
        placed = {"quantization_config": quantization}
    if quantization is not None or stored_method(described):
        placed["device_map"] = {"": str(device)}
        if quantization is None and not config.dtype and config.f16 is None:
            dtype = "auto"
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=config.trust_remote_code,
            use_safetensors=None if config.trust_pickles else True,
            output_loading_info=True,
            **placed,
        )
        if not placed:
            model.to(device)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(config, device) from error
    except (*UNREADABLE, NotImplementedError) as error:
        raise load_failure(config, f"cannot load {folder}", error) from error
    missing = sorted(name for name in report["missing_keys"] if not (unused and name.startswith(unused)))
    if missing:  # the library would fill them with random numbers
        raise ModelLoadFailed(
            f"{about(config)} misses {len(missing)} weights in {folder}, such as {missing[0]}; download it again."
        )
    return model.eval()


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
        raise ConfigError(f"{about(config)} has no dtype {config.dtype!r}; use one of: {known}.", param="dtype")
    return DTYPES[config.dtype]


def out_of_memory(config: EngineConfig, device: torch.device) -> ModelLoadFailed:
    """Return the error for a model that its GPU cannot hold."""
    return ModelLoadFailed(
        f"{about(config)} cannot put the weights on {device}: they do not fit into {free_bytes(device) >> 20} MiB; "
        "end what else uses the GPU, choose another with `main_gpu`, or write `main_gpu: cpu`."
    )
