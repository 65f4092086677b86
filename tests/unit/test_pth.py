"""What is read of a checkpoint of RWKV, without running what stands in it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from localai_flask.config.files.listing import look
from localai_flask.config.files.pth import Checkpoint, read_checkpoint
from localai_flask.config.folder.registry import Registry
from localai_flask.settings import Settings
from tests.support import rwkv_models

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("version", [4, 7])
def test_version_and_size_stand_in_the_names_of_tensors(tmp_path: Path, version: int) -> None:
    rwkv_models.write_checkpoint(tmp_path / "m.pth", version, 300)
    found = read_checkpoint(tmp_path / "m.pth")
    parameters = sum(tensor.numel() for tensor in torch.load(tmp_path / "m.pth").values())
    assert found == Checkpoint(version, 300, rwkv_models.WIDTH, rwkv_models.LAYERS, parameters)


@pytest.mark.parametrize(("name", "version"), [("att.ln_x.weight", 5), ("att.time_maa_x", 6)])
def test_the_versions_between_are_told_apart(tmp_path: Path, name: str, version: int) -> None:
    rwkv_models.write_checkpoint(tmp_path / "m.pth", 4, 300)
    weights = torch.load(tmp_path / "m.pth")
    torch.save(weights | {f"blocks.1.{name}": torch.nn.Parameter(torch.zeros(4))}, tmp_path / "other.pth")
    found = read_checkpoint(tmp_path / "other.pth")
    assert found is not None and found.version == version


def test_a_checkpoint_is_a_model_without_yaml(tmp_path: Path) -> None:
    rwkv_models.write_checkpoint(tmp_path / "rwkv-7.pth", 7, 300)
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "RealESRGAN_x4.pth")
    assert [entry.name for entry in look(tmp_path)] == ["rwkv-7.pth"]
    model = Registry(Settings(models_path=tmp_path)).get("rwkv-7")
    assert model is not None and model.backend == "rwkv"


class Harmful:
    """What a hostile pickle calls when it is loaded."""

    def __init__(self, ran: Path):
        self.ran = ran

    def __reduce__(self) -> Any:
        return Path.touch, (self.ran,)


def test_nothing_runs_that_stands_in_a_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"emb.weight": Harmful(tmp_path / "ran")}, protocol=2))
    assert read_checkpoint(tmp_path / "m.pth") is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_other_files_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pth").write_bytes(content)
    assert read_checkpoint(tmp_path / "m.pth") is None
