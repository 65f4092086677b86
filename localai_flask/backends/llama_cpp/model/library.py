"""The C library: the environment it is loaded in, its names, and its log.

`lib` is llama-cpp-python's low-level binding, one Python function per C function of llama.h.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
from collections import Counter, deque
from collections.abc import Collection
from pathlib import Path
from typing import Any

from localai_flask.backends.llama_cpp.threads.openmp import (
    spin_switch,  # loads OpenMP, and has to come before llama_cpp
)

# A failed assertion in the library ends the process; without this it first calls a debugger to print a backtrace, and
# the requests that are lost with it would hear of that a second later.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import llama_cpp
from llama_cpp import llama_cpp as lib

from localai_flask.errors import ModelLoadFailed

__all__ = [
    "ENGINE_VERSION",
    "LogCapture",
    "backend_function",
    "capture_log",
    "ggml",
    "has_gpu",
    "lib",
    "log_callback",
    "spin_switch",
]

ENGINE_VERSION: str = llama_cpp.__version__

log = logging.getLogger(__name__)

_DEBUG, _INFO, _WARN, _ERROR = 1, 2, 3, 4  # ggml_log_level
_GPUS = 1, 2  # ggml_backend_dev_type: with memory of its own, and sharing the host's
_LEVELS = {_WARN: logging.INFO, _ERROR: logging.WARNING}
_VERBOSITY = {_ERROR: 1, _WARN: 2, _INFO: 3, _DEBUG: 4}
"""From which verbosity on llama.cpp's own programs show messages of a level."""
_BUFFER = re.compile(r"(\S+) +(model|KV|RS) buffer size = +([0-9.]+) MiB")
_CACHE_BEYOND_TRAINING = re.compile(r"n_ctx_seq \(\d+\) > n_ctx_train")
"""The library takes the whole cache, which many sequences share, for the context of one; context.py checks that one."""
_PREFIX = re.compile(r"^(\w+: |error loading model: )+")


class LogCapture:
    """Passes llama.cpp's log to Python's and keeps its last errors, which are all it says about a failed call."""

    def __init__(self, verbosity: int | None = None) -> None:
        self._levels = _LEVELS if verbosity is None else _levels(verbosity)
        self.errors: deque[str] = deque(maxlen=8)
        self.weights: Counter[str] = Counter()
        self.caches: Counter[str] = Counter()
        """How many bytes were allocated, by the name of the memory: no function of the C API tells it."""

    @property
    def cache_bytes(self) -> int:
        return self.caches.total()

    def bytes_in(self, names: Collection[str]) -> int:
        """Return how much of weights and caches lies in memory of these names."""
        return sum(held[name] for held in (self.weights, self.caches) for name in names)

    def __call__(self, level: int, text: bytes, _: Any) -> None:
        line = text.decode("utf-8", "replace").rstrip()
        if level == _ERROR:
            self.errors.append(line)
        elif buffer := _BUFFER.search(line):
            held = self.weights if buffer[2] == "model" else self.caches
            held[buffer[1]] += int(float(buffer[3]) * 2**20)
        if line:
            shown = logging.DEBUG if _CACHE_BEYOND_TRAINING.search(line) else self._levels.get(level, logging.DEBUG)
            log.log(shown, "%s", line)

    def cause(self) -> str:
        """Return the first of the last errors without the names of C functions; the later ones only repeat it."""
        return _PREFIX.sub("", self.errors[0]).rstrip(".") if self.errors else "llama.cpp gave no reason"


def _levels(verbosity: int) -> dict[int, int]:
    """Show what llama.cpp's own programs would show at this verbosity, and leave the rest to the debug log."""
    return {level: _LEVELS.get(level, logging.INFO) for level, least in _VERBOSITY.items() if verbosity >= least}


NO_CELLS = 1
"""What `llama_decode` returns if it finds no room in the cache, which it leaves as it was."""


class NoCells(Exception):
    """There is no room in the cache for the tokens of a batch; fewer may fit, or these when others are gone."""


def ggml(name: str, result: Any, *arguments: Any) -> Any:
    """Bind a function of ggml, which the package has loaded and does not bind; raise `AttributeError` if it is not in.

    Pointers are `ctypes.c_void_p`, thus plain integers or None in Python.
    """
    function = lib._lib[name]  # by index: a new object, so that nobody else's signature is overwritten
    function.restype, function.argtypes = result, arguments
    return function


def backend_function(backend: str, name: str, result: Any, *arguments: Any) -> Any:
    """Bind a function of one of ggml's backends, linked or loaded; raise `AttributeError` if it is not in."""
    registry = ggml("ggml_backend_reg_by_name", ctypes.c_void_p, ctypes.c_char_p)(backend.encode())
    find = ggml("ggml_backend_reg_get_proc_address", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    address = find(registry, name.encode()) if registry else None
    if not address:
        raise AttributeError(f"the backend {backend} has no {name}")
    return ctypes.CFUNCTYPE(result, *arguments)(address)


def load_backends(folder: Path) -> None:
    """Load the backends of a portable build from their folder; in others they are linked in.

    The library takes the variant of each that suits this processor best. Raises `ModelLoadFailed` if none does.
    """
    count = ggml("ggml_backend_reg_count", ctypes.c_size_t)
    if count() > 0:
        return
    ggml("ggml_backend_load_all_from_path", None, ctypes.c_char_p)(os.fsencode(folder))
    has_cpu = ggml("ggml_backend_reg_by_name", ctypes.c_void_p, ctypes.c_char_p)(b"CPU")
    if not has_cpu:
        raise ModelLoadFailed(
            f"llama.cpp was built in parts, and none of those in {folder} suits this processor; "
            "`localai-flask doctor` names the command to build it anew."
        )


def has_gpu() -> bool:
    """Return whether there is a device with compute units of its own, on which weights and cache would lie.

    `llama_supports_gpu_offload` says yes too if the library could use other machines.
    """
    by_type = ggml("ggml_backend_dev_by_type", ctypes.c_void_p, ctypes.c_int)
    return any(by_type(kind) is not None for kind in _GPUS)


_callback: Any = None  # C keeps the pointer, so Python has to keep the object


def capture_log(verbosity: int | None = None) -> LogCapture:
    """Start the library if need be, its threads asleep while they wait, and send its log to a new capture."""
    global _callback
    if _callback is None:
        lib.llama_backend_init()
        if spin_switch is not None:
            spin_switch.set(spins=False)
    capture = LogCapture(verbosity)
    _callback = lib.llama_log_callback(capture)
    lib.llama_log_set(_callback, None)
    return capture


def log_callback() -> Any:
    """Return what a library beside this one is to call with its log, so that it comes to the last capture."""
    return _callback


load_backends(Path(lib._base_path))
