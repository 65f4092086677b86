"""Where torch computes a model, and how much memory there is."""

from __future__ import annotations

import logging
import re

import psutil  # type: ignore[import-untyped]
import torch

from localai_flask.config.model import EngineConfig

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
NAME = re.compile(r"(?:(cuda|gpu|xpu)(?:[:.](?=\d))?)?(\d*)")
"""A GPU as YAML names it: 1, cuda, cuda:1, cuda.1, gpu1, xpu:0."""
KINDS = ("cuda", "xpu")
"""NVIDIA's and AMD's GPUs by the library's name, and Intel's; the first kind that is there is taken by default."""


def choose_device(config: EngineConfig) -> torch.device:
    """Choose the GPU that `main_gpu` names, else the first one, and the processor if there is none or it is wanted.

    Logs that there is no such GPU.
    """
    wanted = config.main_gpu.lower()
    if wanted == "cpu" or config.gpu_layers == 0:
        return CPU
    there = [torch.device(kind, number) for kind in KINDS for number in range(_count(kind))]
    found = _named(wanted, there) if wanted else None
    if wanted and found is None:
        listed = ", ".join(map(str, (CPU, *there)))
        is_built = torch.version.cuda or torch.version.hip or torch.version.xpu
        hint = "" if is_built else "; the torch that is installed was built for no GPU"
        log.warning("model %s: there is no GPU %r; there is: %s%s", config.name, config.main_gpu, listed, hint)
    return found or (there[0] if there else CPU)


def _named(wanted: str, there: list[torch.device]) -> torch.device | None:
    """Return the device that a name means: a number counts those of the kind, or of the first kind that is there."""
    named = NAME.fullmatch(wanted)
    if named is None or not there:
        return None
    kind = named[1] if named[1] in KINDS else there[0].type
    device = torch.device(kind, int(named[2] or 0))
    return device if device in there else None


def _count(kind: str) -> int:
    module = torch.get_device_module(kind)
    return int(module.device_count()) if module.is_available() else 0


def free_bytes(device: torch.device) -> int:
    """Return how much of a device's memory nobody uses."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    module = torch.get_device_module(device)
    module.empty_cache()  # what loading has left counts as used until then
    return int(module.mem_get_info(device)[0])


def half_precision(device: torch.device) -> torch.dtype:
    """Return the format of 16 bits that a device computes in: NVIDIA's GPUs before 2020 know only the older one."""
    if device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16
