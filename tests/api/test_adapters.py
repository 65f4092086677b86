"""What is written and deleted when adapters are loaded and unloaded, where others edit the models folder meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from localai_flask.api.vllm import adapters
from localai_flask.atomic_file import editing
from tests.api.fakes import FakePool
from tests.support import gguf_models

SOMEBODYS = "name: pirate\nparent: base\nlora_adapter: pirate.gguf\nsystem_prompt: Arr.\n"


@pytest.fixture
def folder(models: Path, pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pool, "is_loaded", lambda config: False)
    gguf_models.random_llama(models / "base.gguf")
    gguf_models.lora_adapter(models / "pirate.gguf")
    (models / "base.yaml").write_text("name: base\nparameters: {model: base.gguf}\n")
    return models


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have another editor do something just before the folder is ours."""

    def arrange(act: Callable[[], object]) -> None:
        @contextmanager
        def edit_after_another(folder: Path) -> Iterator[None]:
            act()
            with editing(folder):
                yield

        monkeypatch.setattr(adapters, "editing", edit_after_another)

    return arrange


def load(client: FlaskClient) -> int:
    asked = {"lora_name": "pirate", "lora_path": "pirate.gguf", "base_model_name": "base"}
    return client.post("/v1/load_lora_adapter", json=asked).status_code


def test_loaded_and_unloaded(client: FlaskClient, folder: Path) -> None:
    assert load(client) == 200
    assert (folder / "pirate.yaml").exists()
    assert client.post("/v1/unload_lora_adapter", json={"lora_name": "pirate"}).status_code == 200
    assert not (folder / "pirate.yaml").exists()


def test_a_link_in_the_folder_may_lead_elsewhere(
    client: FlaskClient, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    disk = tmp_path_factory.mktemp("disk")
    for name in ("base.gguf", "pirate.gguf"):
        (folder / name).rename(disk / name)
        (folder / name).symlink_to(disk / name)
    assert client.get("/v1/models/base").status_code == 200
    assert load(client) == 200
    asked = {"lora_name": "other", "lora_path": str(disk / "pirate.gguf"), "base_model_name": "base"}
    refused = client.post("/v1/load_lora_adapter", json=asked)
    assert refused.status_code == 400 and "`lora_path` leads out of the models folder" in refused.text


def test_nothing_is_written_over_that_came_meanwhile(
    client: FlaskClient, folder: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    file = folder / "pirate.yaml"
    meanwhile(lambda: file.write_text(SOMEBODYS))
    assert load(client) == 400
    assert file.read_text() == SOMEBODYS


def test_nothing_is_deleted_that_became_somebodys_meanwhile(
    client: FlaskClient, folder: Path, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    assert load(client) == 200
    file = folder / "pirate.yaml"
    meanwhile(lambda: file.write_text(SOMEBODYS))
    assert client.post("/v1/unload_lora_adapter", json={"lora_name": "pirate"}).status_code == 400
    assert file.read_text() == SOMEBODYS
