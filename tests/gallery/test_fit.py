"""What a model will take is read from its header where it lies, before the file is fetched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from localai_flask.config.blocks import Parameters
from localai_flask.config.files.gguf import inspect
from localai_flask.config.model import ModelConfig
from localai_flask.errors import NoRoom
from localai_flask.gallery.fit import check_fit, estimate
from localai_flask.gallery.sources import Access, RemoteFile
from localai_flask.gallery.sources.access import memory_for_models
from localai_flask.gallery.transport import remote_header
from localai_flask.machine import total_memory
from localai_flask.settings import Settings
from tests.support.fake_hub import Hub
from tests.support.fetching import OPERATOR, offer_of
from tests.support.gguf_models import TRAINED_CONTEXT, random_llama

PROCESS = 128 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_llama(tmp_path_factory.mktemp("fit") / "model.gguf")


@pytest.fixture
def files(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RemoteFile, ...]:
    monkeypatch.setattr(remote_header, "LEAST_BYTES", 0)
    hub.add("o/r", {"model.gguf": model.read_bytes(), "readme.gguf": b"no GGUF" * 2000})
    return offer_of("o/r/model.gguf").files


def config(**more: object) -> ModelConfig:
    return ModelConfig(name="it", parameters=Parameters(model="model.gguf"), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [500, 4 << 20])
def test_weights_and_cache_are_told_from_the_first_bytes(
    hub: Hub, files: tuple[RemoteFile, ...], model: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(remote_header, "WINDOW", window)
    per_token, size = inspect(model).cached_bytes, model.stat().st_size
    assert per_token > 0
    fit = estimate(files, config(), OPERATOR)
    assert fit is not None and (fit.weights, fit.rest, fit.context) == (size, PROCESS, TRAINED_CONTEXT)
    assert fit.cache == TRAINED_CONTEXT * per_token and fit.need == size + PROCESS + fit.cache
    asked = {asked for _, asked in hub.cdn.asked}
    assert None not in asked and "bytes=0-" not in asked
    small = estimate(files, config(context_size=100, cache_type_k="q8_0", cache_type_v="q8_0"), OPERATOR)
    assert small is not None and small.cache == int(100 * per_token * 34 / 64)


def test_a_server_without_ranges_tells_it_too(hub: Hub, files: tuple[RemoteFile, ...]) -> None:
    hub.cdn.behaviour.ranges = False
    fit = estimate(files, config(), OPERATOR)
    assert fit is not None and fit.cache


def test_a_file_that_is_there_is_read_here(hub: Hub, files: tuple[RemoteFile, ...], model: Path) -> None:
    fit = estimate(files, config(), dataclasses.replace(OPERATOR, models_path=model.parent))
    assert fit is not None and fit.cache and not hub.cdn.asked


def test_what_has_no_header_is_weighed(hub: Hub, files: tuple[RemoteFile, ...]) -> None:
    other = offer_of("o/r/readme.gguf").files
    fit = estimate(other, ModelConfig(name="it", parameters=Parameters(model="readme.gguf")), OPERATOR)
    assert fit is not None and (fit.weights, fit.cache) == (14_000, 0) and "KV cache" not in str(fit)
    hub.cdn.behaviour.statuses = [403] * 9
    assert estimate(files, config(), OPERATOR) is not None
    unknown = RemoteFile(path="model.gguf", url="http://127.0.0.1:1/x", private_addresses=True)
    assert estimate([unknown], config(), OPERATOR) is None


def test_a_folder_is_run_by_another_engine() -> None:
    files = [RemoteFile(path="o/r/model.safetensors", url="http://127.0.0.1:1/x", size=1000)]
    fit = estimate(files, ModelConfig(name="it", parameters=Parameters(model="o/r")), OPERATOR)
    assert fit is not None and (fit.weights, fit.rest) == (1000, 512 << 20)


def test_what_can_never_run_is_refused_unless_it_is_forced(files: tuple[RemoteFile, ...]) -> None:
    def access(memory: int, force: bool = False) -> Access:
        return dataclasses.replace(OPERATOR, memory=memory, force=force)

    with pytest.raises(
        NoRoom, match=r"it cannot run on this machine: it takes about .* of weights.*; this machine has 1 MB"
    ):
        check_fit(files, config(), access(1_000_000))
    assert check_fit(files, config(), access(1_000_000, force=True)) is not None
    weights_and_rest = (files[0].size or 0) + PROCESS
    tight = check_fit(files, config(), access(weights_and_rest))
    assert tight is not None and "too little, unless a smaller `context_size`" in str(tight)
    ample = check_fit(files, config(), access(2 * weights_and_rest))
    assert ample is not None and "too little" not in str(ample)


def test_memory_for_models_is_the_budget_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_for_models(Settings(memory_budget="3GB")) == 3 << 30
    monkeypatch.setattr("localai_flask.machine.has_gpu_device", lambda: False)
    assert 0 < memory_for_models(Settings()) < total_memory()
    monkeypatch.setattr("localai_flask.machine.has_gpu_device", lambda: True)
    assert memory_for_models(Settings()) == 0
