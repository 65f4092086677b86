"""Where a model is computed and in which format, in the library's words: its strategy."""

from __future__ import annotations

from localai_flask.backends.rwkv.key_checks import DTYPES
from localai_flask.backends.torch_devices import choose_device
from localai_flask.config.files.pth import Checkpoint
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError


def choose_strategy(config: EngineConfig, checkpoint: Checkpoint) -> str:
    """Return the strategy that YAML asks for; raise `ConfigError` if it is for another version."""
    if (written := config.option("strategy")) is not None:
        return written
    device = choose_device(config)
    is_small = checkpoint.version == 7 or not config.quantization
    if config.quantization and checkpoint.version == 7:
        raise ConfigError(
            f"Model {config.name}: the rwkv package holds weights of version 7 in 16 or 32 bits only; remove "
            "`quantization`, or use a GGUF file of the model.",
            param="quantization",
        )
    kind = _format(config, device.type) + ("" if is_small else "i8")
    layers = config.gpu_layers or 0
    if device.type == "cpu" or not 0 < layers <= checkpoint.layers or checkpoint.version == 7:
        return f"{device} {kind}"
    return f"{device} {kind} *{layers} -> cpu fp32"


def _format(config: EngineConfig, device: str) -> str:
    """Return the format: what is asked for, else one that is exact on a processor and fast on a GPU."""
    if named := DTYPES[config.dtype]:
        return named
    if device == "cpu":
        return "bf16" if config.f16 else "fp32"
    return "fp32" if config.f16 is False else "fp16"
