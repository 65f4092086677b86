"""What is told of a model that is not loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localai_flask.config import traits
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model import ModelConfig
from localai_flask.settings import Settings
from tests.unit.test_gguf import TINY, gguf

WRITES = {"generate", "constrain", "end_thinking", "tokenize"}
MODULES = '[{"type": "sentence_transformers.models.Transformer"}]'


def snapshot(folder: Path, **files: Any) -> ModelConfig:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return Registry(Settings(models_path=folder.parent)).get(folder.name)


def of_file(folder: Path, metadata: dict[str, Any], yaml: str = "") -> ModelConfig:
    (folder / "m.gguf").write_bytes(gguf(TINY | metadata))
    (folder / "m.yaml").write_text("parameters: {model: m.gguf}\n" + yaml)
    return Registry(Settings(models_path=folder)).get("m")


@pytest.mark.parametrize(
    ("described", "able", "length"),
    [
        ({"architectures": ["BertModel"], "max_position_embeddings": 512}, {"embed", "tokenize"}, 512),
        ({"architectures": ["XLMRobertaForMaskedLM"], "max_position_embeddings": 514}, {"embed", "tokenize"}, 514),
        ({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 300}, WRITES, 300),
        ({"architectures": ["GPT2LMHeadModel"], "n_positions": 1024}, WRITES, 1024),
        ({"architectures": ["X"], "text_config": {"max_position_embeddings": 99_999}}, WRITES, 8192),
        ({}, WRITES, None),
        ("[" * 200_000, WRITES, None),
        ({"architectures": 7, "max_position_embeddings": "many"}, WRITES, None),
    ],
)
def test_folders(tmp_path: Path, described: Any, able: set[str], length: int | None) -> None:
    config = snapshot(tmp_path / "m", config=described)
    assert traits.capabilities(config) == able
    assert traits.context_length(config) == length


def test_a_folder_of_sentence_transformers(tmp_path: Path) -> None:
    described = {"architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 40_960}
    tokenizer, limit = {"model_max_length": 1e30}, {"max_seq_length": 256}
    config = snapshot(
        tmp_path / "m", config=described, modules=MODULES, tokenizer_config=tokenizer, sentence_bert_config=limit
    )
    assert config.type == "SentenceTransformer"
    assert (traits.capabilities(config), traits.context_length(config)) == ({"embed", "tokenize"}, 256)
    (tmp_path / "m" / "sentence_bert_config.json").write_text("{}")
    (tmp_path / "m" / "tokenizer_config.json").write_text('{"model_max_length": 9000}')
    assert traits.context_length(config) == 8192


@pytest.mark.parametrize(
    ("metadata", "yaml", "able", "length"),
    [
        ({}, "", WRITES, 2048),
        ({}, "context_size: 100", WRITES, 100),
        ({"llama.context_length": 100_000}, "", WRITES, 8192),
        ({"llama.context_length": 100_000}, "context_size: -1", WRITES, 100_000),
        ({}, "embeddings: true", WRITES | {"embed"}, 2048),
        ({}, "embeddings: true\ncontext_size: 9000", WRITES | {"embed"}, 9000),
        ({"llama.pooling_type": 1}, "", {"embed", "tokenize"}, 2048),
        ({"llama.pooling_type": 4}, "", {"score", "tokenize"}, 2048),
        ({"llama.pooling_type": 4}, "options: ['pooling_type:mean']", {"embed", "tokenize"}, 2048),
        ({"llama.attention.causal": False}, "context_size: 9000", {"embed", "tokenize"}, 2048),
        ({}, "reranking: true", {"score", "tokenize"}, 2048),
        ({"tokenizer.ggml.tokens": ["<PRE>", "<SUF>", "<MID>"]}, "", WRITES | {"infill"}, 2048),
    ],
)
def test_files(tmp_path: Path, metadata: dict[str, Any], yaml: str, able: set[str], length: int) -> None:
    config = of_file(tmp_path, metadata, yaml)
    assert traits.capabilities(config) == able
    assert traits.context_length(config) == length


def test_a_broken_file_is_known_by_its_yaml_alone(tmp_path: Path) -> None:
    config = of_file(tmp_path, {}, "context_size: 77")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert (traits.capabilities(config), traits.context_length(config)) == (WRITES, 77)
