"""What is missing of a Hugging Face folder's weights: parts that its index names, and the ends of files.

Owns the header of safetensors (https://github.com/huggingface/safetensors#format). Weights are never read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path

from localai_flask.config.files.bounded import open_regular, read_json
from localai_flask.errors import ConfigError

LENGTH = struct.Struct("<Q")
MOST_HEADER_BYTES = 16 << 20
"""Several times what models with many thousand tensors have."""
INDEX = ".safetensors.index.json"
WEIGHTS = ".safetensors"


def find_gap(files: Iterable[Path]) -> str:
    """Return in a sentence what is missing of a folder with these files; "" if that can be seen of nothing."""
    files = list(files)
    names = {file.name for file in files}
    for file in files:
        if file.name.endswith(INDEX):
            for name in sorted(_parts(file) - names):
                return f"{file.with_name(name)}, which {file.name} names, is not there; put it beside the others."
        if file.name.endswith(WEIGHTS) and (end := _end(file)) > (size := file.stat().st_size):
            return f"{file} is cut off: {size} of {end} bytes; download it again."
    return ""


def _parts(index: Path) -> set[str]:
    try:
        named = read_json(index).get("weight_map")
    except ConfigError:  # whoever loads the model says what is wrong with it
        return set()
    return {name for name in named.values() if isinstance(name, str)} if isinstance(named, dict) else set()


def _end(file: Path) -> int:
    """Return how long a file has to be by its header, as far as that is there."""
    try:
        with open_regular(file) as opened:
            length = opened.read(LENGTH.size)
            if len(length) < LENGTH.size:
                return LENGTH.size
            size: int = LENGTH.unpack(length)[0]
            if size > MOST_HEADER_BYTES:
                return 0
            header = opened.read(size)
        if len(header) < size:
            return LENGTH.size + size
        ends = [value["data_offsets"][1] for name, value in json.loads(header).items() if name != "__metadata__"]
        return LENGTH.size + size + int(max(ends, default=0))
    except (OSError, ConfigError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return 0  # it is something else, and whoever loads it says what
