"""Weights in 4 or 8 bits: as YAML asks for them, or as a folder holds them already."""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
import transformers

from localai_flask.backends.hugging_face.folder import about
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError

WAYS = ("bnb_4bit", "bnb_8bit", "xpu_4bit", "xpu_8bit")
"""LocalAI's names; those of Intel's GPUs are bitsandbytes' too, which has taken the place of Intel's own extension."""
NEEDED = ("bitsandbytes", "accelerate")


def stored_method(described: Mapping[str, Any]) -> str:
    """Return how a folder's weights are quantised by what its config.json says; empty if they are not."""
    stored = described.get("quantization_config")
    return str(stored.get("quant_method") or "unknown") if isinstance(stored, dict) else ""


def choose_quantization(
    config: EngineConfig, described: Mapping[str, Any], device: torch.device, compute: torch.dtype | str
) -> Any:
    """Return the library's description of what YAML asks for; None if it asks for nothing.

    Raises `ConfigError` for what cannot be.
    """
    wanted = config.quantization
    if not wanted:
        return None
    if wanted not in WAYS:
        near = get_close_matches(wanted, WAYS, n=1)
        meant = f"perhaps {near[0]!r} is meant" if near else f"use one of: {', '.join(WAYS)}"
        raise _refused(config, f"has no quantization {wanted!r}; {meant}; a folder that is quantised needs none")
    if stored := stored_method(described):
        raise _refused(config, f"finds weights that are quantised already, by {stored}; remove `quantization`")
    if wanted.startswith("xpu") and device.type != "xpu":
        raise _refused(
            config,
            f"needs an Intel GPU for `quantization: {wanted}`, and would use {device}; set `main_gpu: xpu`, with a "
            f"torch built for it, or write `quantization: bnb_{wanted.partition('_')[2]}`",
        )
    if missing := [name for name in NEEDED if not _is_there(name)]:
        raise _refused(
            config,
            f"needs {' and '.join(missing)} for `quantization: {wanted}`; run: pip install {' '.join(missing)}",
        )
    if wanted.endswith("8bit"):
        # It says for every layer of every pass that it computes in 16 bits.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute if isinstance(compute, torch.dtype) else torch.bfloat16,
    )


@functools.cache
def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _refused(config: EngineConfig, said: str) -> ConfigError:
    return ConfigError(f"{about(config)} {said}.", param="quantization")
