"""What a models folder is seen to hold: by endings, by first bytes, in folders below it, and despite strange names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localai_flask.config.files import listing
from localai_flask.config.folder.registry import Registry
from localai_flask.settings import Settings


def put(folder: Path, *names: str, content: bytes = b"") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def listed(folder: Path) -> list[str]:
    return list(Registry(Settings(models_path=folder)).models())


def test_a_gguf_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    put(tmp_path, "luna.q4_0.bin", "ggml-small", content=b"GGUF\3\0\0\0")
    put(tmp_path, "pytorch_model.bin", "README", "b.md", content=b"other")
    put(tmp_path, "c.gguf.part", "d.gguf.incomplete", content=b"GGUF\3\0\0\0")
    assert listed(tmp_path) == ["ggml-small", "luna.q4_0.bin"]
    registry = Registry(Settings(models_path=tmp_path))
    assert registry.get("luna.q4_0").backend == "llama-cpp"
    put(tmp_path, "README", content=b"GGUF, and longer than before")
    assert listed(tmp_path)[0] == "README"


def test_folders_below_are_looked_through(tmp_path: Path) -> None:
    put(tmp_path, "a/one.gguf", "a/b/two.GGUF", "a/b/c/d/four.gguf", "a/b/c/d/e/five.gguf", ".hidden/x.gguf")
    put(tmp_path, "a/split-00001-of-00002.gguf", "a/split-00002-of-00002.gguf", "a/mmproj-f16.gguf")
    put(tmp_path, "mmproj/kept.gguf", "a/model.yaml", "hub/blobs/abc", content=b"GGUF")
    put(tmp_path, "hub/org/model/config.json", "hub/org/model/model.safetensors", "hub/org/model/onnx/x.gguf")
    put(tmp_path, "gguf repo/config.json", "gguf repo/x.Q4_K.gguf")
    assert listed(tmp_path) == [
        "a/b/c/d/four.gguf",
        "a/b/two.GGUF",
        "a/one.gguf",
        "a/split-00001-of-00002.gguf",
        "gguf repo/x.Q4_K.gguf",
        "hub/org/model",
        "mmproj/kept.gguf",
    ]
    registry = Registry(Settings(models_path=tmp_path))
    assert registry.get("a/one").model_path == tmp_path / "a/one.gguf"
    assert registry.get("hub/org/model").backend == "transformers"


def test_what_yaml_speaks_for_below_is_not_listed_again(tmp_path: Path) -> None:
    put(tmp_path, "a/one.gguf", "a/two.gguf", "b/x.gguf", "hub/config.json")
    put(tmp_path, "one.yaml", content=b"parameters: {model: a/one.gguf}")
    put(tmp_path, "hub.yaml", content=b"parameters: {model: hub/deep/x.gguf}")
    put(tmp_path, "folder.yaml", content=b"parameters: {model: b}")
    assert listed(tmp_path) == ["a/two.gguf", "folder", "hub", "one"]


def test_links_neither_lead_in_circles_nor_to_nowhere(tmp_path: Path) -> None:
    put(tmp_path / "disk", "x.gguf")
    models = tmp_path / "models"
    put(models, "a/y.gguf")
    (models / "a" / "up").symlink_to(models)
    (models / "a" / "again").symlink_to(models / "a")
    (models / "linked").symlink_to(tmp_path / "disk")
    (models / "gone.gguf").symlink_to(models / "nothing")
    assert listed(models) == ["a/y.gguf", "linked/x.gguf"]


def test_pipes_and_names_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.gguf", "new\nline.gguf")
    (tmp_path / os.fsdecode(b"\xff.gguf")).write_bytes(b"")
    for name in ("pipe.gguf", "pipe.yaml", "pipe"):
        os.mkfifo(tmp_path / name)
    assert listed(tmp_path) == ["a.gguf", "new\nline.gguf"]


def test_what_a_folder_may_hold_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_ITEMS", 12)
    put(tmp_path, *(f"{folder}/{number}.gguf" for folder in "abc" for number in range(8)), "top.gguf")
    assert "top.gguf" in listed(tmp_path)
    assert len(listed(tmp_path)) <= 12
    put(tmp_path, *(f"{number:03}.gguf" for number in range(40)))
    assert len(listed(tmp_path)) == 12
