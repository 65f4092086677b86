"""When a model's file counts as whole: by looks at real files, with a clock of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from pathlib import Path

import pytest

from localai_flask.config.files.settling import Settling, files_of
from localai_flask.config.folder.registry import Registry
from localai_flask.errors import ApiError, ConfigError, ModelFileChanging, ModelNotFound
from localai_flask.settings import Settings

DEMO = Path(__file__).parents[2] / "models" / "demo.gguf"


class Looks(Settling):
    """Looks at moments that the test chooses; the clock of files stands `ahead_s` before that of this machine."""

    quiet_s, patience_s = 2.0, 10.0

    def __init__(self, ahead_s: float = 0.0):
        self.begun = time.time()
        self.passed = 0.0
        super().__init__(lambda: self.passed, lambda: self.begun - ahead_s + self.passed)

    def at(self, passed: float, *paths: Path) -> str:
        """Return what is found this many seconds after the beginning: "whole", "wait" or "faulty"."""
        self.passed = passed
        found = self.problem("m", paths)
        return "whole" if found is None else "wait" if isinstance(found, ModelFileChanging) else "faulty"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shutil.copy(DEMO, tmp_path / "model.gguf")
    return tmp_path / "model.gguf"


def cut(file: Path, share: float) -> None:
    os.truncate(file, int(DEMO.stat().st_size * share))


def test_a_file_has_to_be_quiet_for_a_while(model: Path) -> None:
    looks = Looks()
    assert [looks.at(second, model) for second in (0, 1, 3)] == ["wait", "wait", "whole"]


def test_a_file_that_nobody_has_touched_for_long_is_whole_at_the_first_look(model: Path) -> None:
    assert Looks().at(30, model) == "whole"


def test_an_old_time_of_change_is_no_sign(model: Path) -> None:
    os.utime(model, (1e9, 1e9))  # as `cp -p` does at its end
    looks = Looks()
    assert [looks.at(second, model) for second in (0, 3)] == ["wait", "whole"]


def test_with_a_clock_that_is_wrong_two_looks_decide(model: Path) -> None:
    looks = Looks(ahead_s=3600)
    assert [looks.at(second, model) for second in (0, 1, 3)] == ["wait", "wait", "whole"]
    cut(model, 0.5)
    assert looks.at(4, model) == "wait"


def test_a_copy_that_pauses_is_waited_for_and_one_that_has_ended_early_is_faulty(model: Path) -> None:
    cut(model, 0.5)
    looks = Looks()
    assert [looks.at(second, model) for second in (0, 5, 9, 12)] == ["wait", "wait", "wait", "faulty"]
    found = looks.problem("m", [model])
    assert isinstance(found, ConfigError) and "is cut off" in str(found)
    cut(model, 0.6)  # it goes on after all
    looks.begun = time.time() - 12
    assert looks.at(12, model) == "wait"


def test_a_client_hears_how_much_is_there(model: Path) -> None:
    cut(model, 0.5)
    with pytest.raises(ModelFileChanging, match=r"model m is still being copied \(50% of it is there\)") as caught:
        raise Looks().problem("m", [model]) or AssertionError
    assert (caught.value.info.status, caught.value.info.retry_after) == (503, 2.0)


def test_all_parts_of_a_split_model_have_to_be_there(model: Path) -> None:
    parts = [model.with_name(f"big-0000{number}-of-00003.gguf") for number in (1, 2, 3)]
    for part in parts[:2]:
        shutil.copy(model, part)
    looks = Looks()
    assert [looks.at(second, parts[0]) for second in (0, 5, 12)] == ["wait", "wait", "faulty"]
    assert f"{parts[2]}, one of 3 parts of the model, is not there" in str(looks.problem("m", [parts[0]]))
    coming = model.with_name(".big-00003-of-00003.gguf.aB3xYz")  # as rsync names it meanwhile
    coming.write_bytes(b"GGUF")
    looks.begun = time.time() - 12
    assert looks.at(12, parts[0]) == "wait"
    shutil.copy(model, parts[2])
    coming.unlink()
    assert [looks.at(second, parts[0]) for second in (13, 30)] == ["wait", "whole"]
    assert files_of(parts[0]) == parts


def test_a_download_of_full_length_is_known_by_the_file_beside_it(model: Path) -> None:
    control = model.with_name("model.gguf.aria2")
    control.touch()
    looks = Looks()
    assert [looks.at(second, model) for second in (0, 5, 30)] == ["wait", "wait", "faulty"]
    control.unlink()
    assert looks.at(31, model) == "whole"


def test_a_folder_is_whole_when_all_its_files_are(model: Path) -> None:
    folder = model.parent / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.part").write_bytes(b"half")
    looks = Looks()
    assert [looks.at(second, folder) for second in (0, 5, 30)] == ["wait", "wait", "faulty"]
    (folder / "model.safetensors.part").rename(folder / "model.bin")
    assert looks.at(31, folder) == "whole"


def test_the_weights_of_a_folder_have_to_be_as_long_as_their_headers_say(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"x": "y"}})
    whole = struct.pack("<Q", len(header)) + header.encode() + bytes(8)
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model-1.safetensors"
    for length in (3, 8, 20, len(whole) - 1):
        weights.write_bytes(whole[:length])
        assert Looks().at(30, tmp_path) == "faulty", length
    weights.write_bytes(whole)
    assert Looks().at(30, tmp_path) == "whole"
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    looks = Looks()
    assert looks.at(30, tmp_path) == "faulty"
    assert "model-2.safetensors, which" in str(looks.problem("m", [tmp_path]))
    (tmp_path / "model-2.safetensors").write_bytes(whole)
    assert Looks().at(30, tmp_path) == "whole"


@pytest.mark.parametrize("content", [b"<html>", b"\0" * 40, b"\x04" + bytes(7) + b"null", bytes(8)])
def test_what_are_no_weights_is_left_to_who_loads_them(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(content)
    assert Looks().at(30, tmp_path) == ("faulty" if content == b"<html>" else "whole")


def test_a_model_goes_on_as_it_was_until_the_new_file_is_whole(model: Path) -> None:
    looks = Looks()
    looks.passed = 30
    first = looks.stamp([model])
    cut(model, 0.7)
    looks.begun = time.time() - 30
    for second in (30, 33, 36):
        looks.passed = second
        assert looks.stamp([model]) == first
    shutil.copy(DEMO, model)
    looks.begun = time.time() - 40
    looks.passed = 41
    assert looks.stamp([model]) == first
    looks.passed = 43
    assert looks.stamp([model]) != first


@pytest.mark.parametrize("has_yaml", [False, True])
def test_what_the_folder_offers_meanwhile(model: Path, monkeypatch: pytest.MonkeyPatch, has_yaml: bool) -> None:
    """A bare file is no model before it is whole; one that a YAML names is, and cannot be loaded yet."""
    monkeypatch.setattr(Settling, "quiet_s", 2.0)
    monkeypatch.setattr(Settling, "patience_s", 10.0)
    if has_yaml:
        (model.parent / "m.yaml").write_text("name: m\nparameters: {model: model.gguf}\n")
    names = ["m", "model.gguf"] if has_yaml else ["model.gguf", "model"]
    registry = Registry(Settings(models_path=model.parent))
    registry.recheck_s = 0.0  # type: ignore[misc]
    whole = model.read_bytes()
    cut(model, 0.5)
    assert list(registry.models()) == (["m"] if has_yaml else [])
    for name in names:
        with pytest.raises(ApiError, match="is still being copied") as caught:
            registry.look_to_load(registry.get(name))
        assert caught.value.info.code == ModelFileChanging.code
        assert registry.is_model(name)
    assert names[0] in registry.refresh_names()[0]
    model.write_bytes(whole)
    assert list(registry.models()) == names[:1]
    with pytest.raises(ApiError, match="is still being copied"):
        registry.look_to_load(registry.get(names[0]))
    monkeypatch.setattr(Settling, "quiet_s", 0.0)
    assert registry.look_to_load(registry.get(names[0]))
    model.unlink()
    with pytest.raises(ModelNotFound):
        registry.get("model.gguf" if not has_yaml else "other")
