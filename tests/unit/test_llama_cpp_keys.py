"""Keys that only the llama.cpp engine honours are no secret of the others: they refuse them by name."""

from __future__ import annotations

import pytest

from localai_flask.backends.base import LLAMA_CPP_ALONE, refuse_llama_cpp_keys
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError


@pytest.mark.parametrize(
    "config",
    [
        {"lora_adapter": "a.gguf"},
        {"lora_scales": (1.0,)},
        {"draft_model": "d.gguf"},
        {"flash_attention": "on"},
        {"cache_type_v": "q8_0"},
        {"rope_freq_base": 1e6},
        {"numa": "true"},
        {"main_gpu": "0"},
        {"n_keep": -1},
    ],
)
def test_a_key_for_llama_cpp_is_named(config):
    (key,) = config
    with pytest.raises(ConfigError, match=f"Model m: `{key}` is for the llama-cpp backend") as caught:
        refuse_llama_cpp_keys(ModelConfig(name="m", **config), "transformers")
    assert caught.value.info.param == key


@pytest.mark.parametrize(
    "config",
    [{}, {"flash_attention": "auto"}, {"cache_type_k": "f16"}, {"numa": "false", "n_draft": 0}],
)
def test_what_asks_for_nothing_is_fine(config):
    refuse_llama_cpp_keys(ModelConfig(name="m", **config), "transformers")


def test_the_keys_exist():
    assert set(LLAMA_CPP_ALONE) <= set(ModelConfig.__struct_fields__)
