"""Keys of a model's YAML that this engine cannot honour, found without its library."""

from __future__ import annotations

import re
from collections.abc import Iterator

from localai_flask.backends.notes import Note, check_options, unread_keys
from localai_flask.config.files.pth import read_checkpoint
from localai_flask.config.model import EngineConfig

KEYS = frozenset(
    ("context_size", "threads", "batch", "f16", "main_gpu", "gpu_layers", "dtype", "quantization", "trust_pickles")
)
"""The keys that this engine reads; `trust_pickles` asks nothing, as nothing that stands in a file is run."""
OPTIONS = ("strategy", "parallel", "n_parallel", "cache_ram")
NUMBERS = {"parallel": 1, "n_parallel": 1, "cache_ram": 0}
"""Options that are whole numbers, with the smallest."""
DTYPES = {"": "", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "fp32": "fp32", "fp16": "fp16"}
DTYPES |= {"bf16": "bf16", "auto": "", "f16": "fp16", "f32": "fp32", "half": "fp16", "float": "fp32"}
PART = r" *(?:cuda(?::\d+)?|cpu|mps|dml) (?:fp(?:16|32)|bf16)(?:i8)?(?: \*\d+\+?)? *"
STRATEGY = re.compile(f"{PART}(?:->{PART})*")
"""What the library calls a strategy: devices and formats, for layers in turn."""
STRATEGY_7 = re.compile(r" *(?:cuda(?::\d+)?|cpu|mps|dml) (?:fp(?:16|32)|bf16) *")
"""The same of version 7, which lies on one device."""


def check(config: EngineConfig) -> Iterator[Note]:
    """Find all that can be said of a model's YAML before it is loaded."""
    reads = KEYS | {"tokenizer"}
    yield from unread_keys(config, "rwkv", reads)
    if config.dtype not in DTYPES:
        said = f"the rwkv backend computes in float32, bfloat16 or float16, not in {config.dtype!r}"
        yield Note(("dtype",), said, is_fault=True)
    if config.quantization not in ("", "int8", "i8"):
        said = f"the rwkv backend holds weights in 8 bits with `quantization: int8`, and has no {config.quantization!r}"
        yield Note(("quantization",), said, is_fault=True)
    yield from check_options(config, "rwkv", OPTIONS, NUMBERS)
    for index, entry in enumerate(config.options):
        name, _, value = (part.strip() for part in entry.partition(":"))
        if name == "strategy":
            yield from _check_strategy(config, index, value)


def _check_strategy(config: EngineConfig, index: int, value: str) -> Iterator[Note]:
    found = read_checkpoint(config.model_path) if config.parameters.model else None
    if not STRATEGY.fullmatch(value):
        said = f"{value!r} is no strategy; write `cpu fp32`, `cuda fp16`, `cuda fp16 *10 -> cpu fp32` or the like"
        yield Note(("options", index), said, is_fault=True)
    elif found is not None and found.version == 7 and not STRATEGY_7.fullmatch(value):
        said = f"a model of version 7 lies on one device, as with `cpu fp32` or `cuda fp16`, not {value!r}"
        yield Note(("options", index), said, is_fault=True)
