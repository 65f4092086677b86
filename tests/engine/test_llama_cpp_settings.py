"""What options and YAML keys change about a loaded model, as far as a CPU shows it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from localai_flask.errors import ConfigError, ModelLoadFailed, OutOfMemory
from tests.engine.conftest import load_engine
from tests.support import gguf_models as models

WIDTH, KV_WIDTH = 128, 64
LONG = {"max_tokens": 24, "ignore_eos": True}
TEXT = "some text of several tokens"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return models.random_llama(tmp_path_factory.mktemp("settings") / "model.gguf", width=WIDTH)


def answer(model: Path, *options: str, **config) -> list[int]:
    """Load, generate, close; give the tokens."""
    engine = load_engine(model, *options, **config)
    try:
        return engine.generate(TEXT, **LONG).output_tokens
    finally:
        engine.backend.close()


def refusal(model: Path, *options: str, error=ConfigError, **config) -> str:
    with pytest.raises(error) as caught:
        load_engine(model, *options, **config)
    return str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"rope_freq_base": 100.0},
        {"rope_freq_scale": 0.1},
        {"rope_scaling": "yarn", "rope_freq_scale": 0.25, "yarn_orig_ctx": 64},
        {"overrides": ("llama.rope.freq_base=float:100",)},
    ],
)
def test_positions_are_scaled_as_yaml_says(model, config):
    assert answer(model, **config) != answer(model)


@pytest.mark.parametrize(
    ("options", "config"),
    [
        (("override_tensor:attn_q=CPU",), {}),
        (("cpu_moe", "no_op_offload", "direct_io"), {"numa": "true"}),
        (("n_cpu_moe:2", "device:none", "split_mode:none"), {"main_gpu": "0", "no_kv_offloading": True}),
        (("device:CPU", "check_tensors", "swa_full"), {"tensor_split": "3,1", "gpu_layers": 0}),
        (("n_rs_seq:2",), {"mmlock": False, "mmap": False, "flash_attention": "on"}),
    ],
)
def test_where_things_lie_changes_no_answer(model, options, config):
    assert answer(model, *options, **config) == answer(model)


def test_a_quantised_cache_is_smaller_and_still_generates(model):
    sizes = {}
    for kind in ("f32", "f16", "q8_0", "q4_0"):
        engine = load_engine(model, "parallel:2", context_size=1024, cache_type_k=kind, cache_type_v=kind)
        sizes[kind] = engine.backend.model.memory_bytes - engine.backend.model.weight_bytes
        assert len(engine.generate(TEXT, **LONG).output_tokens) == 24
        engine.backend.close()
    assert sizes["f16"] == 2 * 1024 * 2 * 2 * KV_WIDTH * 2  # slots, tokens, layers, keys and values, bytes
    assert sizes["f32"] == 2 * sizes["f16"]
    assert sizes["q8_0"] == pytest.approx(sizes["f16"] * 34 / 64, rel=0.02)
    assert sizes["q4_0"] == pytest.approx(sizes["f16"] * 18 / 64, rel=0.02)


def test_a_cache_type_that_does_not_fit_the_heads_is_explained(tmp_path):
    narrow = models.random_llama(tmp_path / "narrow.gguf", width=32)  # heads of eight, blocks of thirty-two
    sentence = refusal(narrow, cache_type_k="q8_0", error=ModelLoadFailed)
    assert "q8_0" in sentence and "block size 32" in sentence and "\n" not in sentence
    assert "choose another `cache_type_k`" in sentence


def test_overrides_change_what_the_file_says(model):
    engine = load_engine(model, overrides=("llama.context_length=int:77", "general.name=str:x"), context_size=None)
    assert (engine.backend.model.trained_context, engine.backend.model.context_size) == (77, 77)
    engine.backend.close()


@pytest.mark.parametrize(
    ("options", "config", "words"),
    [
        (("device:CUDA7",), {}, "There is no device 'CUDA7'; this machine has: "),
        (("override_tensor:attn_q",), {}, "is not written as pattern=memory"),
        (("override_tensor:attn_q=HBM",), {}, "names the memory 'HBM'; there is: CPU"),
        (("override_tensor:attn_(q=CPU",), {}, "is no regular expression"),
        ((), {"overrides": ("a=int:x",)}, "`overrides` has the entry 'a=int:x'; write key=type:value"),
        ((), {"overrides": ("a:int=3",)}, "`overrides` has the entry 'a:int=3'"),
        ((), {"overrides": ("k" * 128 + "=int:1",)}, "at most 127 bytes"),
        ((), {"tensor_split": ",".join(["1"] * 500)}, "`tensor_split` has 500 shares, and llama.cpp takes"),
    ],
)
def test_what_does_not_fit_this_machine_is_refused(model, options, config, words):
    assert words in refusal(model, *options, **config)


# Adapters


@pytest.fixture(scope="module")
def lora(model) -> str:
    return models.lora_adapter(model.parent / "lora.gguf", width=WIDTH).name


def test_adapters_act_by_their_scales(model, lora):
    plain = answer(model)
    full = answer(model, lora_adapter=lora)
    assert full != plain
    assert answer(model, lora_adapter=lora, lora_scale=0.0) == plain
    assert answer(model, lora_adapters=(lora,), lora_scales=(1.0,)) == full
    assert answer(model, lora_adapters=(lora, lora), lora_scales=(0.5, 0.5)) == full
    assert answer(model, lora_adapter=lora, lora_scale=0.5) not in (plain, full)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("hello"), "is not a GGUF file"),
        (lambda path: models.random_llama(path), "is of kind 'model' and no LoRA adapter"),
        (lambda path: models.lora_adapter(path, width=64), "does not fit the model"),
        (
            lambda path: models.lora_adapter(path, WIDTH, architecture="qwen2"),
            "does not fit the model: model arch and LoRA arch mismatch",
        ),
    ],
)
def test_files_that_are_no_adapter_for_the_model_are_named(model, tmp_path, make, words):
    path = tmp_path / "wrong.gguf"
    make(path)
    sentence = refusal(model, lora_adapter=str(path))
    assert words in sentence and "wrong.gguf" in sentence and "\n" not in sentence


# Memory


@pytest.fixture
def scarce(monkeypatch):
    """A machine that has as many bytes left as the test says."""
    target = "localai_flask.backends.llama_cpp.model.context.available_memory"
    return lambda free: monkeypatch.setattr(target, lambda **_: free)


TOKEN = 2 * 2 * KV_WIDTH * 2
"""Bytes of cache that a token takes: layers, keys and values, numbers, bytes."""


@pytest.mark.parametrize(
    ("free", "options", "config", "size"),
    [
        (1 << 40, (), {}, (16, 4096)),
        (1 << 40, ("fit_params:false",), {}, (4, 4096)),
        (8 * 8 * 4096 * TOKEN, (), {}, (8, 4096)),
        (8 * 8 * 4096 * TOKEN - 1, (), {}, (4, 4096)),
        (1 << 40, (), {"context_size": -1}, (16, models.TRAINED_CONTEXT)),
        (4096 * 2 * 2 * TOKEN, (), {}, (2, 4096)),
        (4096 * 2 * TOKEN, (), {}, (1, 4096)),
        (3000 * TOKEN, (), {}, (1, 2048)),
        (1100 * TOKEN, (), {}, (1, 1024)),
        (8 * 1100 * TOKEN, ("parallel:8",), {}, (8, 1024)),
        (4 * 3000 * TOKEN, (), {"context_size": 3000}, (2, 3000)),
    ],
)
def test_what_the_yaml_leaves_open_is_fitted_into_memory(model, scarce, free, options, config, size):
    scarce(free)
    engine = load_engine(model, "fit_target:0", "fit_ctx:1024", *options, **{"context_size": None, **config})
    assert (engine.backend.model.slots, engine.backend.model.context_size) == size
    engine.backend.close()


def test_what_cannot_be_fitted_is_refused(model, scarce, monkeypatch):
    scarce(900 * TOKEN)
    with pytest.raises(OutOfMemory, match="1 × 2000 tokens"):
        load_engine(model, context_size=2000)
    monkeypatch.setattr("localai_flask.backends.llama_cpp.model.context.total_memory", lambda: 900 * TOKEN)
    assert "1 × 1024 tokens" in refusal(model, "fit_target:0", "fit_ctx:1024", context_size=None)
    assert "4 × 4096 tokens" in refusal(model, "fit_params:false", context_size=None)
    assert "1 × 2000 tokens" in refusal(model, context_size=2000)


def test_the_log_tells_what_the_cache_takes(model, caplog):
    with caplog.at_level(logging.INFO):
        load_engine(model, "parallel:3", context_size=1000, cache_type_k="f16").backend.close()
    assert "3 slots × 1024 tokens" in caplog.text or "3 slots × 1000 tokens" in caplog.text


@pytest.mark.parametrize(("option", "shown"), [("verbosity:3", True), ("verbosity:0", False), ("warmup", False)])
def test_verbosity_shows_the_librarys_messages(model, caplog, option, shown):
    with caplog.at_level(logging.INFO):
        load_engine(model, option).backend.close()
    assert ("load_tensors:" in caplog.text or "llama_model_loader:" in caplog.text) == shown
