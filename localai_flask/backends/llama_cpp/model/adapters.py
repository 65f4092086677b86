"""LoRA adapters: small files that change a model's weights while it runs.

Owns the sentences for adapters that do not fit; the C objects belong to the model and go with it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from localai_flask.backends.llama_cpp.model.library import LogCapture, lib
from localai_flask.config.files.gguf import inspect
from localai_flask.errors import ConfigError

ADAPTER = "adapter"
_FAILED = "failed to apply lora adapter: "


class Adapter(NamedTuple):
    """One adapter's file, and how strongly it is to act; 1 is what it was trained for."""

    path: Path
    scale: float = 1.0


def load_adapters(handle: Any, adapters: Sequence[Adapter], capture: LogCapture) -> Any:
    """Load adapters for a model as an array of C pointers; raise `ConfigError` for a file that does not fit it."""
    loaded = (lib.llama_adapter_lora_p_ctypes * len(adapters))()
    for index, adapter in enumerate(adapters):
        kind = inspect(adapter.path, named_by="lora_adapter").kind
        if kind != ADAPTER:
            raise ConfigError(
                f"{adapter.path} is of kind {kind!r} and no LoRA adapter; correct `lora_adapter`.", param="lora_adapter"
            )
        capture.errors.clear()
        one = lib.llama_adapter_lora_init(handle, str(adapter.path).encode())
        if not one:
            raise ConfigError(
                f"The LoRA adapter {adapter.path} does not fit the model: {capture.cause().removeprefix(_FAILED)}; "
                "use the adapter with the model that it was trained for.",
                param="lora_adapter",
            )
        loaded[index] = ctypes.cast(one, lib.llama_adapter_lora_p_ctypes)
    return loaded


def apply_adapters(context: Any, loaded: Any, adapters: Sequence[Adapter]) -> None:
    """Have a context compute with adapters; raise `ConfigError` if it cannot."""
    scales = (ctypes.c_float * len(adapters))(*(adapter.scale for adapter in adapters))
    if adapters and lib.llama_set_adapters_lora(context, loaded, len(adapters), scales) != 0:
        raise ConfigError("llama.cpp cannot apply the LoRA adapters; see the log.", param="lora_adapter")
