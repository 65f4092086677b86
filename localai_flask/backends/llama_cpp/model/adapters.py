"""LoRA adapters: small files that change a model's weights while it runs.

Owns the loaded ones of a model, and which of them its context computes with: those of its YAML, or those of a request.
The C objects belong to the model and go with it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from localai_flask.backends.llama_cpp.model.file_identity import identity_of
from localai_flask.backends.llama_cpp.model.library import LogCapture, lib
from localai_flask.backends.side_thread import SideThread
from localai_flask.config.files.gguf import inspect
from localai_flask.errors import ConfigError, OutOfMemory
from localai_flask.machine import available_memory

ADAPTER = "adapter"
KEPT = 8
"""How many adapters stay loaded that no request uses."""
READ_BYTES = 1 << 20
_FAILED = "failed to apply lora adapter: "


class Adapter(NamedTuple):
    """One adapter's file, and how strongly it is to act; 1 is what it was trained for."""

    path: Path
    scale: float = 1.0


class Stamp(NamedTuple):
    """A file as it was when it was loaded; one that was replaced is another."""

    path: Path
    mtime_ns: int
    size: int


Scales = Mapping[Stamp, float]


@dataclass(frozen=True, eq=False)
class AdapterSet:
    """What a sequence is computed with; `key` tells it from others in this process and the next, "" is the YAML's."""

    key: str
    scales: Scales


@dataclass(frozen=True)
class _Loaded:
    pointer: Any
    identity: list[Any]


class AdapterShelf:
    """The adapters of one model. Only the engine's thread loads and frees any, between two computations."""

    def __init__(self, handle: Any, own: Sequence[Adapter], capture: LogCapture):
        """Load the YAML's; raise `ConfigError` for a file that does not fit the model."""
        self._handle, self._capture = handle, capture
        self._reading = SideThread("adapters")
        self._loaded: dict[Stamp, _Loaded] = {}
        """Least recently used first. No `OrderedDict`, whose keys another thread cannot list while some change."""
        self._sets: weakref.WeakValueDictionary[str, AdapterSet] = weakref.WeakValueDictionary()
        """Those that sequences have, whose adapters have to stay."""
        self.own = AdapterSet("", self._load(own))
        self._context: Any = None
        self._applied = self.own.key, self.own.scales

    def bind(self, context: Any) -> None:
        """Have a context compute with the YAML's adapters, and with those of requests when `use` says so."""
        self._context = context
        self.apply_own(context)

    def apply_own(self, context: Any) -> None:
        """Have another context on these weights compute with the YAML's adapters."""
        self._apply(context, self.own.scales)

    def use(self, wanted: AdapterSet | None) -> None:
        """Compute with a set from here on; None: the YAML's."""
        wanted = wanted or self.own
        if wanted.key != self._applied[0]:
            self._apply(self._context, wanted.scales)
            self._applied = wanted.key, wanted.scales

    def read_ahead(self, wanted: Sequence[Adapter]) -> Future[Any] | None:
        """Have another thread bring the files of these into memory that are not loaded; None if all are.

        Raises `ConfigError`, or fails with that or `OutOfMemory`, as `find` does. No more is done ahead: the library
        notes each adapter in the model, which a computation reads without a lock.
        """
        stamps = [_stamp_of(each.path) for each in wanted if each.scale]
        missing = [stamp for stamp in stamps if stamp not in self._loaded]
        return self._reading.submit(functools.partial(_read_files, missing)) if missing else None

    def find(self, wanted: Sequence[Adapter]) -> AdapterSet | None:
        """Return the set of these adapters, after loading those that are not loaded; None if it is the YAML's.

        Raises `ConfigError` for a file that does not fit the model, `OutOfMemory` if there is no room for it.
        """
        scales = self._load(each for each in wanted if each.scale)
        if scales == self.own.scales:
            return None
        key = self._key_of(scales)
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = AdapterSet(key, scales)
            self._tidy()
        return found

    def find_key(self, wanted: Sequence[Adapter]) -> str | None:
        """Return the key of the set that `find` returns; None if something would have to be loaded to know it."""
        scales = _scales_of(each for each in wanted if each.scale)
        if not scales.keys() <= self._loaded.keys():
            return None
        return self.own.key if scales == self.own.scales else self._key_of(scales)

    @property
    def idle_bytes(self) -> int:
        """How much memory the adapters take that no request uses; may be asked by any thread."""
        return sum(stamp.size for stamp in self._idle())

    def give_back(self, size: int) -> int:
        """Free about as much of that; return how much it was."""
        freed = 0
        for stamp in self._idle():
            if freed < size:
                freed += stamp.size
                self._free(stamp)
        return freed

    def _tidy(self) -> None:
        """Free the adapters that no request uses and that were not used for longest."""
        for stamp in self._idle()[:-KEPT]:
            self._free(stamp)

    def _idle(self) -> list[Stamp]:
        used = {stamp for reference in self._sets.valuerefs() if (each := reference()) for stamp in each.scales}
        return [stamp for stamp in list(self._loaded) if stamp not in used and stamp not in self.own.scales]

    def _load(self, wanted: Iterable[Adapter]) -> Scales:
        scales = _scales_of(wanted)
        for stamp in scales:
            loaded = self._loaded.pop(stamp, None)
            self._loaded[stamp] = self._read(stamp) if loaded is None else loaded
        return scales

    def _key_of(self, scales: Scales) -> str:
        parts = sorted([*self._loaded[stamp].identity, scale] for stamp, scale in scales.items())
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _read(self, stamp: Stamp) -> _Loaded:
        _check(stamp)
        path = stamp.path
        self._capture.errors.clear()
        pointer = lib.llama_adapter_lora_init(self._handle, str(path).encode())
        if not pointer:
            raise ConfigError(
                f"The LoRA adapter {path} does not fit the model: {self._capture.cause().removeprefix(_FAILED)}; "
                "use the adapter with the model that it was trained for.",
                param="lora_adapter",
            )
        if lib.llama_adapter_get_alora_n_invocation_tokens(pointer):
            lib.llama_adapter_lora_free(pointer)
            raise ConfigError(
                f"The LoRA adapter {path} acts behind tokens of its own only (aLoRA), which is not supported; "
                "use one that acts on the whole text.",
                param="lora_adapter",
            )
        return _Loaded(ctypes.cast(pointer, lib.llama_adapter_lora_p_ctypes), identity_of(path))

    def _apply(self, context: Any, scales: Scales) -> None:
        pointers = (lib.llama_adapter_lora_p_ctypes * len(scales))(*(self._loaded[each].pointer for each in scales))
        numbers = (ctypes.c_float * len(scales))(*scales.values())
        if lib.llama_set_adapters_lora(context, pointers, len(scales), numbers) != 0:
            raise ConfigError("llama.cpp cannot apply the LoRA adapters; see the log.", param="lora_adapter")

    def _free(self, stamp: Stamp) -> None:
        if stamp in self._applied[1]:  # the library would go on with what has been freed
            self.use(None)
        lib.llama_adapter_lora_free(self._loaded.pop(stamp).pointer)


def _check(stamp: Stamp) -> None:
    """Raise `ConfigError` for a file that is no adapter, `OutOfMemory` if there is no room for it."""
    kind = inspect(stamp.path, named_by="lora_adapter").kind
    if kind != ADAPTER:
        raise ConfigError(
            f"{stamp.path} is of kind {kind!r} and no LoRA adapter; correct `lora_adapter`.", param="lora_adapter"
        )
    if stamp.size > available_memory():
        raise OutOfMemory(f"There is no room in memory for the LoRA adapter {stamp.path} ({stamp.size >> 20} MiB).")


def _read_files(stamps: Iterable[Stamp]) -> None:
    """Read files so that the next to read them need not wait for a disk."""
    buffer = bytearray(READ_BYTES)
    for stamp in stamps:
        _check(stamp)
        with open(stamp.path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _scales_of(wanted: Iterable[Adapter]) -> Scales:
    """Return how strongly each file is to act; the library takes each once. Raises `ConfigError` as `_stamp_of`."""
    scales: dict[Stamp, float] = {}
    for adapter in wanted:
        stamp = _stamp_of(adapter.path)
        scales[stamp] = scales.get(stamp, 0.0) + adapter.scale
    return scales


def _stamp_of(path: Path) -> Stamp:
    """Look at an adapter's file; raise `ConfigError` if it is not there."""
    try:
        status = path.stat()
    except OSError:
        inspect(path, named_by="lora_adapter")
        raise
    return Stamp(path, status.st_mtime_ns, status.st_size)
