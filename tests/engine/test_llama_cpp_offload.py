"""How much of a model goes to GPUs that are not there: the estimate is made of the file, their memory is the test's."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

pytest.importorskip("llama_cpp")

from localai_flask.backends.llama_cpp.model import offload, weights
from localai_flask.backends.llama_cpp.model.offload import Demand, fit, fit_to_gpus, usable
from localai_flask.backends.llama_cpp.options.options import EngineOptions, read_options
from localai_flask.config.files.gguf import inspect
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError, ModelLoadFailed
from localai_flask.settings import Settings
from tests.engine.conftest import load_engine
from tests.support import gguf_models as models

DEMAND = Demand(layers=(100, 100, 100, 100), output=50, token=1)
"""450 bytes of weights, and 4 for each token of the cache."""


def options(*given: str, **config) -> EngineOptions:
    return read_options(ModelConfig(name="m", options=given, **config), Settings())


def chosen(room: int, *given: str, **config) -> tuple[int | None, ...]:
    """Return the slots, tokens and layers that are settled; None for what is left open."""
    asked = options("fit_ctx:32", *given, **config)
    settled = fit(asked, DEMAND, room, asked.context_size or 64, "m.gguf")
    return settled.parallel, settled.context_size, settled.gpu_layers


@pytest.mark.parametrize(
    ("room", "settled"),
    [
        (450 + 4 * 4 * 64, (None, None, None)),
        (450 + 4 * 4 * 64 - 1, (2, 64, None)),
        (450 + 4 * 64, (1, 64, None)),
        (450 + 4 * 32, (1, 32, None)),
        (450 + 4 * 32 - 1, (1, 32, 4)),
        (50 + 2 * 132, (1, 32, 3)),
        (50, (1, 32, 1)),
        (49, (None, None, 0)),
    ],
)
def test_slots_are_given_up_first_then_context_then_layers(room, settled):
    assert chosen(room) == settled


def test_what_the_yaml_says_stays():
    assert chosen(450, "parallel:2", context_size=64) == (2, 64, 2)
    assert chosen(450, gpu_layers=9) == (1, 32, 9)
    assert chosen(450, gpu_layers=-1) == (1, 32, -1)


def test_each_gpu_keeps_its_margin_and_gets_its_share():
    assert usable([100, 100], (), (10,)) == 180
    assert usable([100, 50], (), (10, 20)) == 90  # they get two thirds and one third
    assert usable([100, 100], (3.0, 1.0), (10,)) == 120
    assert usable([100, 100], (0.0, 1.0), (10,)) == 90
    assert usable([5], (), (10,)) == 0


@pytest.fixture
def gpu(monkeypatch):
    """A GPU with this many bytes left; nothing is put there."""
    monkeypatch.setattr(offload, "uses_gpu", lambda options: options.gpu_layers != 0)
    monkeypatch.setattr(offload, "chosen_gpus", lambda *_: [1])
    return lambda free: monkeypatch.setattr(offload, "read_memory", lambda device: (free, free))


def test_a_file_is_measured_without_its_weights(gguf, gpu, caplog):
    path = gguf["llama"]
    header, asked = inspect(path), options("fit_target:0", "parallel:1", context_size=256)
    assert len(header.layer_bytes) == 2 and header.layer_bytes[0] == header.layer_bytes[1] > 0
    demand, trained = offload._measure(path, asked)
    assert demand.layers == header.layer_bytes and trained == models.TRAINED_CONTEXT
    assert demand.token == 2 * 16 * 2  # keys and values, two heads of eight, two bytes
    whole = demand.total(256)
    gpu(whole)
    assert fit_to_gpus(path, asked) == asked
    gpu(whole - 1)
    with caplog.at_level(logging.WARNING):
        assert fit_to_gpus(path, asked).gpu_layers == 2
    assert "2 of 3 layers fit into the GPU's memory" in caplog.text
    assert fit_to_gpus(path, options("fit_params:false")).gpu_layers is None
    assert fit_to_gpus(path, options("cpu_moe")).gpu_layers is None
    assert fit_to_gpus(path, options("no_op_offload", gpu_layers=0)).gpu_layers == 0
    assert offload._measure(path, options(no_kv_offloading=True))[0].token == 0


def test_a_file_that_cannot_be_measured_is_explained_as_ever(tmp_path, gpu, monkeypatch):
    gpu(1 << 30)
    with pytest.raises(ModelLoadFailed, match="architecture 'llama9'"):
        load_engine(models.random_llama(tmp_path / "new.gguf", architecture="llama9"))
    tokens = list(models.TOKENS)
    tokens[models.character("x")] = tokens[models.character("y")]
    monkeypatch.setattr(models, "TOKENS", tokens)
    with pytest.raises(ConfigError, match="has the text of another"):
        load_engine(models.random_llama(tmp_path / "twice.gguf"))


def test_a_model_without_layers_on_a_gpu_leaves_it_alone():
    def listed(asked: EngineOptions) -> list[int | None] | None:
        params, kept = weights._params(asked)
        return list(kept[0]) if params.devices else None

    assert listed(options()) is None
    assert listed(options(gpu_layers=0)) == [None]
    assert listed(replace(options(), devices=("CPU",))) == [None]


def test_weights_that_do_not_fit_are_no_damaged_file(tmp_path):
    class Capture:
        def cause(self) -> str:
            return "allocating 9000.00 MiB on device 0: cudaMalloc failed: out of memory"

    said = weights._explain(tmp_path / "big.gguf", Capture())
    assert "lower `gpu_layers`" in said and "download" not in said
