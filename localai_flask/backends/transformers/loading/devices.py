"""Where a model of this engine is computed, and how much memory there is."""

from __future__ import annotations

import logging
import re

import psutil  # type: ignore[import-untyped]
import torch

from localai_flask.config.model import EngineConfig

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
NUMBER = re.compile(r"(?:(?:cuda|gpu)(?::(?=\d))?)?(\d*)")
"""A GPU as YAML names it: 1, cuda, cuda:1."""


def choose_device(config: EngineConfig) -> torch.device:
    """Choose the GPU that `main_gpu` names, else the first one, and the processor if there is none or it is wanted.

    Logs that there is no such GPU.
    """
    wanted = config.main_gpu.lower()
    if wanted == "cpu" or config.gpu_layers == 0:
        return CPU
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = NUMBER.fullmatch(wanted)
    number = int(named[1] or 0) if named else count
    if wanted and number >= count:
        there = ", ".join(("cpu", *(f"cuda:{each}" for each in range(count))))
        hint = "" if torch.version.cuda else "; the torch that is installed was built without CUDA"
        log.warning("model %s: there is no GPU %r; there is: %s%s", config.name, config.main_gpu, there, hint)
        number = 0
    return torch.device("cuda", number) if count else CPU


def free_bytes(device: torch.device) -> int:
    """Return how much of a device's memory nobody uses."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    torch.cuda.empty_cache()  # what loading has left counts as used until then
    return int(torch.cuda.mem_get_info(device)[0])


def half_precision(device: torch.device) -> torch.dtype:
    """Return the format of 16 bits that a device computes in: GPUs before 2020 know only the older one."""
    if device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16
