"""What engines say of a model's YAML before they load it: faults change answers, notes do not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from localai_flask import backends
from localai_flask.backends.notes import FILLED_IN, OF_ANSWERS, OF_THE_POOL, heed, unread_keys
from localai_flask.backends.transformers.key_checks import KEYS
from localai_flask.config.model import EngineConfig, ModelConfig
from localai_flask.errors import ConfigError


def model(**config) -> ModelConfig:
    return ModelConfig(name="m", **config)


@pytest.mark.parametrize("backend", ["transformers", "openvino", "rwkv"])
@pytest.mark.parametrize(("entry", "is_fine"), [("parallel:4", True), ("parallel:x", False), ("parallel:0", False)])
def test_an_option_that_is_a_number_is_checked_before_the_load(backend, entry, is_fine):
    faults = [note for note in backends.check(model(backend=backend, options=(entry,))) if note.is_fault]
    assert [note.path for note in faults] == ([] if is_fine else [("options", 0)])
    assert all("is a whole number from 1 on" in note.text for note in faults)


@pytest.mark.parametrize(
    "config", [{"enforce_eager": True}, {"engine_args": {"a": 1}}, {"max_model_len": 9}, {"quantization": "awq"}]
)
def test_a_key_for_another_engine_costs_a_note_with_a_gguf_file(config):
    (key,) = config
    notes = backends.check(model(backend="llama-cpp", **config))
    assert [(note.path, note.is_fault) for note in notes] == [((key,), False)]
    assert notes[0].text.startswith(f"`{key}` is not read by the llama-cpp backend")


@pytest.mark.parametrize(
    "config",
    [{"lora_adapter": "a.gguf"}, {"lora_scales": (1.0,)}, {"rope_freq_base": 1e6}, {"n_keep": -1}],
)
def test_a_key_for_llama_cpp_that_changes_answers_is_refused_by_others(config):
    (key,) = config
    with pytest.raises(ConfigError, match=f"Model m: `{key}` is not read by the transformers backend") as caught:
        heed(unread_keys(model(**config), "transformers", KEYS), model(**config))
    assert caught.value.info.param == key


@pytest.mark.parametrize(
    "config",
    [
        {"draft_model": "d.gguf"},
        {"flash_attention": "on"},
        {"cache_type_v": "q8_0"},
        {"numa": "true"},
        {"mmap": True},
        {"mmlock": True},
    ],
)
def test_a_key_for_llama_cpp_of_speed_is_noted(config, caplog):
    (key,) = config
    (note,) = unread_keys(model(**config), "transformers", KEYS)
    assert note.path == (key,) and not note.is_fault
    heed([note], model(**config))
    assert f"model m: `{key}` is not read by the transformers backend" in caplog.text


@pytest.mark.parametrize(
    "config",
    [{}, {"flash_attention": "auto"}, {"cache_type_k": "f16"}, {"numa": "false", "n_draft": 0}],
)
def test_what_asks_for_nothing_is_fine(config):
    assert list(unread_keys(model(**config), "transformers", KEYS)) == []


def test_the_keys_exist():
    assert set(EngineConfig.__struct_fields__) >= KEYS | FILLED_IN | OF_ANSWERS | OF_THE_POOL


@pytest.mark.parametrize(
    ("config", "path", "said", "is_fault"),
    [
        ({"backend": "sglang"}, ("backend",), "`backend: sglang` is not part of this version", True),
        ({"backend": "vllm-omni"}, ("backend",), "`backend: vllm-omni` is not part of this version", True),
        ({"backend": "nope"}, ("backend",), "there is no backend 'nope'", True),
        ({"main_gpu": "cuda.0"}, ("main_gpu",), "`main_gpu: cuda.0` is a device of other engines", False),
        ({"main_gpu": "AUTO:-CPU"}, ("main_gpu",), "is a device of `backend: openvino`", False),
        ({"tensor_split": "a,b"}, ("tensor_split",), "`tensor_split: a,b` is no list of shares", False),
        ({"tensor_split": "0,0"}, ("tensor_split",), "is no list of shares", False),
        ({"cache_type_k": "turbo3"}, ("cache_type_k",), "`cache_type_k: turbo3` is none of: f32, f16", False),
        ({"cache_type_v": "q4_0", "flash_attention": "off"}, ("flash_attention",), "beside `cache_type_v", False),
        ({"dtype": "float16"}, ("dtype",), "a GGUF file has its own types", False),
        ({"options": ("paralel:4",)}, ("options", 0), "no option 'paralel'; perhaps 'parallel' is meant", False),
        ({"options": ("warmup", "--ctx-sise:4")}, ("options", 1), "has no option '--ctx-sise'", False),
        ({"options": ("xyzzy",)}, ("options", 0), "the llama-cpp backend has no option 'xyzzy'", False),
        ({"options": ("parallel:many",)}, ("options", 0), "parallel:many is not a whole number; it has no eff", False),
        ({"options": ("spec_type:draft-mtp",)}, ("options", 0), "spec_type:draft-mtp has no effect", False),
        ({"options": ("spec_type:draft",)}, ("options",), "there is no draft model", False),
        ({"options": ("spec_type:ngram",)}, ("options", 0), "spec_type:ngram is none of: none, draft-simple", False),
        ({"options": ("spec_type:ngram-mod",), "draft_model": "d"}, ("draft_model",), "has no effect with", False),
        ({"options": ("lookup_cache_static:x",)}, ("options", 0), "files of statistics", False),
        ({"options": ("spec_p_split:0.5",)}, ("options", 0), "guesses do not branch", False),
        ({"options": ("cpu_moe", "n_cpu_moe:2")}, ("options",), "n_cpu_moe is less than cpu_moe", False),
        ({"options": ("context_shift:perhaps",)}, ("options", 0), "is neither true nor false", True),
        ({"options": ("reasoning_format:none",)}, ("options", 0), "is none of: auto, deepseek", True),
        ({"backend": "transformers", "gpu_layers": 9}, ("gpu_layers",), "all layers of a model on one device", False),
        ({"backend": "transformers", "options": ("paralel:1",)}, ("options", 0), "perhaps 'parallel' is", False),
        (
            {"backend": "transformers", "type": "OVModelForCausalLM"},
            ("type",),
            "set `backend: openvino`",
            True,
        ),
        ({"backend": "transformers", "type": "Nope"}, ("type",), "has no type 'Nope'", True),
        (
            {"backend": "transformers", "reranking": True, "embeddings": True},
            ("embeddings",),
            "makes vectors or scores documents",
            True,
        ),
    ],
)
def test_what_an_engine_cannot_honour_is_said_without_loading_it(config, path, said, is_fault):
    (note,) = backends.check(model(**{"backend": "llama-cpp"} | config))
    assert note.path == path
    assert said in note.text
    assert note.is_fault == is_fault


def test_speculation_that_llama_cpp_cannot_do_takes_its_draft_model_along():
    notes = backends.check(model(backend="llama-cpp", draft_model="d.gguf", options=("spec_type:draft-dflash",)))
    assert [note.path for note in notes] == [("options", 0), ("draft_model",)]


@pytest.mark.parametrize("options", [("mmproj_use_gpu:true", "image_max_tokens:8"), ("kv_unified:false", "gpu")])
def test_options_of_images_and_of_what_is_the_case_anyway_are_quiet(options):
    assert backends.check(model(backend="llama-cpp", options=options)) == []


def test_checking_brings_no_library():
    code = (
        "import sys; from localai_flask import backends; from localai_flask.config.model import ModelConfig;"
        "[backends.check(ModelConfig(name='m', backend=name)) for name in backends.BACKENDS];"
        "print([m for m in ('numpy', 'llama_cpp', 'torch', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_checking_leaves_the_environment_as_it_is():
    """The process may fetch models from the hub afterwards, and so may its children."""
    code = (
        "import os; before = dict(os.environ); from localai_flask import backends;"
        "from localai_flask.config.model import ModelConfig;"
        "[backends.check(ModelConfig(name='m', backend=name)) for name in backends.BACKENDS];"
        "print(set(os.environ.items()) ^ set(before.items()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
