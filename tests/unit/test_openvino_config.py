"""YAML for OpenVINO as LocalAI's documentation writes it, and what of it cannot be."""

from __future__ import annotations

import pytest

from localai_flask import backends
from localai_flask.backends.notes import Note
from localai_flask.config import traits
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model import ModelConfig
from localai_flask.settings import Settings

STARLING = """
name: starling-openvino
backend: transformers
parameters:
  model: fakezeta/Starling-LM-7B-beta-openvino-int8
context_size: 8192
threads: 6
f16: true
type: OVModelForCausalLM
stopwords:
- <|end_of_turn|>
- <|endoftext|>
prompt_cache_path: "cache"
prompt_cache_all: true
template:
  chat_message: |
    {{if eq .RoleName "user"}}GPT4 Correct User: {{.Content}}{{end}}
  chat: |
    {{.Input}}<|end_of_turn|>GPT4 Correct Assistant:
"""


def read(folder, text: str) -> ModelConfig:
    (folder / "m.yaml").write_text(text)
    (config,) = Registry(Settings(models_path=folder)).models().values()
    return config


def test_the_example_of_localai_means_this_engine(tmp_path):
    config = read(tmp_path, STARLING)
    assert (config.backend, config.type) == ("openvino", "OVModelForCausalLM")
    assert config.stopwords == ("<|end_of_turn|>", "<|endoftext|>") and config.template.chat
    assert backends.check(config) == []
    assert traits.capabilities(config) == {"generate", "constrain", "tokenize"}


@pytest.mark.parametrize("backend", ["backend: transformers", "backend: openvino", ""])
def test_vectors_by_the_type_of_localai(backend, tmp_path):
    config = read(tmp_path, f"name: m\n{backend}\ntype: OVModelForFeatureExtraction\nparameters: {{model: x}}")
    assert config.backend == "openvino" and backends.check(config) == []
    assert traits.capabilities(config) == {"embed", "tokenize"}


@pytest.mark.parametrize(
    ("keys", "path", "said", "is_fault"),
    [
        ({"type": "Mamba"}, ("type",), "has no type 'Mamba'", True),
        ({"quantization": "bnb_4bit"}, ("quantization",), "use one of: fp32, fp16, int8", True),
        ({"reranking": True}, ("reranking",), "`reranking` is not read by the openvino backend", True),
        ({"options": ("performance:latency",)}, ("options", 0), "perhaps 'performance_mode' is meant", False),
        ({"gpu_layers": 9}, ("gpu_layers",), "`gpu_layers` is not read by the openvino backend", False),
    ],
)
def test_what_cannot_be_is_said_without_loading(keys, path, said, is_fault):
    (note,) = backends.check(ModelConfig(name="m", backend="openvino", **keys))
    assert isinstance(note, Note) and note.path == path and said in note.text and note.is_fault == is_fault


@pytest.mark.parametrize("device", ["AUTO:-CPU", "GPU.1", "HETERO:GPU,CPU", "0"])
def test_devices_are_openvinos_to_judge(device):
    assert backends.check(ModelConfig(name="m", backend="openvino", main_gpu=device)) == []
