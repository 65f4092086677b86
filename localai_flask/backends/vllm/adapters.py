"""LoRA adapters of requests, as the library takes them: one for each request, known by a number and a name."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from vllm.lora.ops.torch_ops import lora_ops
from vllm.lora.punica_wrapper import punica_cpu
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform

from localai_flask.errors import ConfigError, UnsupportedParameter
from localai_flask.generation import Adapter

FIRST_ID = 2
"""1 is that of the YAML's adapter."""


class Adapters:
    """What one engine has had for its requests; `own` is the YAML's, which acts on requests that name none."""

    def __init__(self, engine: Any, models_path: str, own: LoRARequest | None):
        self._engine, self._models_path = engine, Path(models_path)
        self._own = own
        self._known: dict[str, LoRARequest] = {}
        if current_platform.is_cpu():
            _spare_rows_without()

    def find(self, wanted: Sequence[Adapter] | None) -> LoRARequest | None:
        """Return what a request is to name; raise `UnsupportedParameter` or `ConfigError` for what is impossible."""
        if wanted is None:
            return self._own
        if not wanted:
            return None
        if len(wanted) > 1 or wanted[0].scale != 1:
            said = "vLLM applies one adapter to a request, as it was trained; name one alone, without a scale"
            raise UnsupportedParameter(f"{said}, also in the parent's YAML.", param="model")
        if self._engine.vllm_config.lora_config is None:
            raise ConfigError(
                "The parent was loaded without room for adapters; say in its YAML "
                "`engine_args: {enable_lora: true, max_loras: 4, max_lora_rank: 16}`.",
                param="engine_args",
            )
        return self._of(self._models_path / wanted[0].file)

    def _of(self, folder: Path) -> LoRARequest:
        """Name a folder as it is now: the library tells cached prompts apart by these names."""
        try:
            stamps = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(folder.iterdir())]
        except OSError as error:
            said = f"The adapter {folder} cannot be read ({error.strerror}); put it there, or correct `lora_adapter`."
            raise ConfigError(said, param="lora_adapter") from error
        name = f"{folder} {stamps}"
        if name not in self._known:
            made = LoRARequest(name, FIRST_ID + len(self._known), str(folder))
            try:
                self._engine.add_lora(made)
            except Exception as error:  # whatever the library and PEFT's files come to
                said = " ".join(str(error).split())[:300] or type(error).__name__
                raise ConfigError(f"vLLM cannot use the adapter {folder}: {said}.", param="lora_adapter") from error
            self._known[name] = made
        return self._known[name]


@functools.cache
def _spare_rows_without() -> None:
    """Have the library's code for processors change no row of a batch that has no adapter.

    Such rows have the number -1, with which it takes the last adapter that it holds.
    """
    shrink = lora_ops.bgmv_shrink

    def sparing(inputs: Tensor, weights: Tensor, output: Tensor, numbers: Tensor, scaling: float = 1.0) -> None:
        shrink(inputs, weights, output, numbers, scaling)
        output[numbers < 0] = 0

    lora_ops.bgmv_shrink = punica_cpu.bgmv_shrink = sparing
