"""What a `.pth` checkpoint of RWKV holds: its tensors' names and shapes, without running what stands in it.

PyTorch's files are zip archives around a pickle, and a pickle is a program. Of that, only calls are followed that make
dictionaries and describe tensors; everything else ends the reading. Knows no torch.
"""

from __future__ import annotations

import functools
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from localai_flask.config.files.bounded import open_regular
from localai_flask.errors import ConfigError

PTH = ".pth"
MOST_BYTES = 16 << 20
"""The pickle of a model of 61 layers has less than 200 KB."""
EMBEDDING = "emb.weight"
Shapes = Mapping[str, tuple[int, ...]]


class Checkpoint(msgspec.Struct, frozen=True):
    """`version` is RWKV's; `parameters` counts numbers."""

    version: int
    vocabulary: int
    width: int
    layers: int
    parameters: int

    @property
    def state_bytes(self) -> int:
        """What the model remembers of a text, however long: for each layer a matrix for every head of 64."""
        return self.layers * 4 * self.width * (5 if self.version == 4 else 64 + 2)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read what a file holds, anew only if it changed; None if it is no checkpoint of RWKV."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _read(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=512)
def _read(path: Path, _mtime_ns: int, _size: int) -> Checkpoint | None:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return _describe(_shapes(archive))
    except (OSError, ConfigError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return None
    except (pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, EOFError, OverflowError):
        return None  # what a pickle that is damaged, or another program, raises


def _shapes(archive: zipfile.ZipFile) -> dict[str, tuple[int, ...]]:
    entry = next((each for each in archive.infolist() if each.filename.endswith("data.pkl")), None)
    if entry is None or entry.file_size > MOST_BYTES:
        return {}
    found = _Names(io.BytesIO(archive.read(entry))).load()
    return {str(name): shape for name, shape in found.items() if isinstance(shape, tuple)}


def _describe(shapes: Shapes) -> Checkpoint | None:
    """Return what these tensors are, by the names that https://github.com/BlinkDL/RWKV-LM gives them."""
    if EMBEDDING not in shapes or "blocks.0.att.key.weight" not in shapes:
        return None
    vocabulary, width = shapes[EMBEDDING]
    layers = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blocks."))
    parameters = sum(map(_count, shapes.values()))
    return Checkpoint(_version(shapes), vocabulary, width, layers, parameters)


def _version(shapes: Shapes) -> int:
    if "blocks.0.att.r_k" in shapes:
        return 7
    if any("time_maa" in name for name in shapes):
        return 6
    return 5 if any("ln_x" in name for name in shapes) else 4


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


class _Names(pickle.Unpickler):
    """Reads tensors as their shapes."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name.startswith("_rebuild_"):
            return _shape_of
        if module in ("torch", "torch.storage") and (name.endswith("Storage") or name in ("bfloat16", "float16")):
            return None
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> None:
        return None


def _shape_of(*arguments: Any) -> Any:
    """Stand in for torch's functions: a tensor's third argument is its shape; a parameter's first is its tensor."""
    first = arguments[0]
    return first if isinstance(first, tuple) else tuple(map(int, arguments[2]))
