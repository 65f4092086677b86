"""Exports to OpenVINO's format by another program in optimum's place: once, whole or not at all, kept until stale."""

from __future__ import annotations

import json
import os
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localai_flask.backends.openvino import export
from localai_flask.backends.openvino.export import MODEL, NAME, ensure_exported
from localai_flask.config.blocks import ModelFile
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed

WRITES = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[-1])
folder.mkdir()
(folder / "openvino_model.bin").write_text(" ".join(sys.argv))
time.sleep(0.3)
(folder / "openvino_model.xml").touch()
with open(folder.parent / "count", "a") as count:
    count.write("x")
"""
FAILS = """
import sys
from pathlib import Path
Path(sys.argv[-1]).mkdir()
print("Loading weights")
sys.exit("ValueError: unknown architecture 'nope'.")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_can_export", lambda: True)
    monkeypatch.setattr(export, "version", lambda package: "1")
    monkeypatch.setattr(export, "PROGRAM", WRITES)
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps({"dtype": "bfloat16"}))
    (made / "model.safetensors").write_bytes(b"w" * 100)
    return made


def model(folder: Path, **keys) -> EngineConfig:
    return EngineConfig(name="m", backend="openvino", parameters=ModelFile(model=str(folder)), **keys)


def ensure(folder: Path, **keys) -> Path:
    return ensure_exported(model(folder, **keys), folder, lambda fraction: None)


def runs(folder: Path) -> int:
    return len((folder / NAME / "count").read_text())


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / NAME).iterdir() if each.name not in ("lock", "count"))


def test_an_exported_folder_is_used_as_it_is(folder):
    (folder / MODEL).touch()
    assert ensure(folder) == folder


def test_two_at_once_export_once(folder):
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(ensure, [folder] * 2)
    assert first == second == ensure(folder)
    assert runs(folder) == 1 and left(folder) == [first.name]
    asked = (first / "openvino_model.bin").read_text()
    assert f"--model {folder} --task text-generation-with-past" in asked and "--weight-format fp16" in asked
    assert "trust" not in asked


def test_what_is_wanted_of_an_export_is_said_to_the_program(folder):
    keys = {"quantization": "int4", "trust_remote_code": True, "embeddings": True}
    asked = (ensure(folder, **keys) / "openvino_model.bin").read_text()
    assert "--task feature-extraction" in asked and "--weight-format int4 --trust-remote-code" in asked


def test_a_failed_export_leaves_its_words_and_no_model(folder, monkeypatch):
    monkeypatch.setattr(export, "PROGRAM", FAILS)
    with pytest.raises(
        ModelLoadFailed, match=r"unknown architecture 'nope'\. All that optimum-intel said is in"
    ) as failed:
        ensure(folder)
    (log,) = left(folder)
    assert log.endswith(".log") and log in str(failed.value)
    monkeypatch.setattr(export, "PROGRAM", WRITES)
    assert left(folder) == [log] and (ensure(folder) / MODEL).exists()


def test_half_of_an_export_is_made_again(folder):
    whole = ensure(folder)
    whole.rename(whole.with_name(f"{whole.name}.part"))  # as somebody leaves it who is killed
    assert ensure(folder) == whole
    assert runs(folder) == 2 and left(folder) == [whole.name]


def test_no_export_begins_without_room_for_it(folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(export.shutil, "disk_usage", lambda path: usage(9, 0, 99))
    with pytest.raises(ModelLoadFailed, match="make room"):
        ensure(folder)
    assert left(folder) == []


def test_other_files_are_exported_anew_and_other_formats_kept(folder):
    first, other = ensure(folder), ensure(folder, quantization="int8")
    assert first != other and left(folder) == sorted([first.name, other.name])
    (folder / "model.safetensors").write_bytes(b"v" * 101)
    third = ensure(folder)
    assert third not in (first, other) and left(folder) == [third.name]


def test_a_folder_that_cannot_be_written_to_is_exported_elsewhere(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = ensure(folder)
    assert made.is_relative_to(tmp_path / "cache") and (made / MODEL).exists()
    assert not (folder / NAME).exists()


def test_progress_goes_on_while_nothing_is_written(folder):
    seen: list[float] = []
    ensure_exported(model(folder), folder, seen.append)
    assert seen == sorted(set(seen)) and 0 <= seen[0] < seen[-1] < 1


def test_without_the_exporter_it_is_said_what_brings_it(folder, monkeypatch):
    monkeypatch.setattr(export, "_can_export", lambda: False)
    with pytest.raises(ConfigError, match="localai-flask backends install openvino"):
        ensure(folder)


def test_a_folder_without_weights_is_not_exported(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"neither openvino_model\.xml nor safetensors"):
        ensure(folder)
