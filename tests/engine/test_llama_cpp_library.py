"""How the backends of a portable build are loaded; the build itself is too long for a test."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from localai_flask.errors import ModelLoadFailed

pytest.importorskip("llama_cpp")


class Ggml:
    """Stands in for the library: what is linked in, and what its folder would add."""

    def __init__(self, linked: set[bytes], loadable: set[bytes]):
        self.registered, self.loadable = linked, loadable
        self.folders: list[bytes] = []

    def bind(self, name: str, *_: Any) -> Any:
        return getattr(self, name)

    def ggml_backend_reg_count(self) -> int:
        return len(self.registered)

    def ggml_backend_load_all_from_path(self, folder: bytes) -> None:
        self.folders.append(folder)
        self.registered |= self.loadable

    def ggml_backend_reg_by_name(self, name: bytes) -> int | None:
        return 1 if name in self.registered else None


def load(monkeypatch: pytest.MonkeyPatch, ggml: Ggml, folder: Path) -> None:
    from localai_flask.backends.llama_cpp.model import library

    monkeypatch.setattr(library, "ggml", ggml.bind)
    library.load_backends(folder)


def test_a_portable_build_loads_its_backends_from_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ggml = Ggml(set(), {b"CPU", b"RPC"})
    load(monkeypatch, ggml, tmp_path)
    assert ggml.folders == [bytes(tmp_path)]


def test_backends_that_are_linked_in_are_not_loaded_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ggml = Ggml({b"CPU"}, {b"RPC"})
    load(monkeypatch, ggml, tmp_path)
    assert ggml.folders == []


def test_a_portable_build_without_a_part_for_this_processor_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ModelLoadFailed, match=r"none of those in .* suits this processor; `localai-flask doctor`"):
        load(monkeypatch, Ggml(set(), {b"RPC"}), tmp_path)


def test_functions_of_a_backend_are_found_by_its_name() -> None:
    from localai_flask.backends.llama_cpp.model.library import backend_function, ggml

    features = backend_function("CPU", "ggml_backend_get_features", ctypes.c_void_p, ctypes.c_void_p)
    registry = ggml("ggml_backend_reg_by_name", ctypes.c_void_p, ctypes.c_char_p)(b"CPU")
    assert features(registry)
    for backend, name in (("CPU", "ggml_no_such_function"), ("NONE", "ggml_backend_get_features")):
        with pytest.raises(AttributeError):
            backend_function(backend, name, ctypes.c_void_p)


LOADED = """\
load_tensors:   CPU_Mapped model buffer size =     2.00 MiB
load_tensors:        CUDA0 model buffer size =    10.50 MiB
load_tensors:        CUDA1 model buffer size =     4.00 MiB
llama_kv_cache:      CUDA0 KV buffer size =     3.00 MiB
llama_kv_cache:        CPU KV buffer size =     1.00 MiB
llama_context:       CUDA0 compute buffer size =   100.00 MiB
"""


def test_what_lies_on_gpus_is_told_by_the_log() -> None:
    from localai_flask.backends.llama_cpp.model.library import LogCapture

    capture = LogCapture()
    for line in LOADED.splitlines(keepends=True):
        capture(2, line.encode(), None)
    assert capture.cache_bytes == 4 << 20
    assert capture.bytes_in({"CUDA0", "CUDA1"}) == int(17.5 * 2**20)
    assert capture.bytes_in(set()) == 0


def test_the_log_tells_what_weights_and_cache_take(open_engine: Any) -> None:
    from localai_flask.backends.llama_cpp.model.devices import gpu_memories

    engine = open_engine("llama", "parallel:2", context_size=512, gpu_layers=0)
    capture = engine.backend.model.capture
    assert capture.weights.total() >= engine.backend.model.weight_bytes * 0.99 > 0 < capture.caches.total()
    assert capture.bytes_in(gpu_memories()) == 0 < capture.bytes_in(capture.weights)
