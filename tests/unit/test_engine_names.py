"""What names of engines in YAML mean, and which engine a model's files choose; `python -m tests.unit.test_engine_names`
writes the tables of docs/engines.md anew."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from localai_flask import backends
from localai_flask.backends.notes import FILLED_IN, NO_EFFECT, OF_THE_POOL, PASSED_OVER
from localai_flask.config.engines.choice import choose_engine
from localai_flask.config.engines.facts import ENGINES
from localai_flask.config.engines.names import ELSEWHERE, NAMES, Name, meant_by
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError
from localai_flask.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
APART = {"echo", "llama-cpp", "cloud-proxy"}
"""The engine that has no keys, and those whose own pages list them."""
SAMPLES: dict[type, Any] = {bool: True, int: 7, float: 0.5, str: "x", tuple: ("x",), dict: {"x": 1}, type(None): 7}
"""A value for each key, by what its default is, that asks for something."""


def means(name: Name) -> str:
    kind = f" with `type: {name.type}`" if name.type else ""
    gguf = f"; `{name.gguf}` for a GGUF file" if name.gguf else ""
    return f"`{name.engine}`{kind}{gguf}"


def table() -> str:
    """Return the rows, those that mean the same in one."""
    rows: dict[str, list[str]] = {}
    for name, meant in NAMES.items():
        rows.setdefault(means(meant), []).append(name)
    for name, said in ELSEWHERE.items():
        rows.setdefault(f"not here: it {said}", []).append(name)
    shown = ((", ".join(f"`{name}`" for name in names), said) for said, names in rows.items())
    lines = [f"| {names} | {said} |" for names, said in shown]
    return "\n".join(["| `backend:` | runs with |", "|---|---|", *lines, ""])


def keys_read(engine: str) -> list[str]:
    """Return the keys of YAML of which an engine does not say that it does not read them."""
    found, plain = [], EngineConfig(name="m", backend=engine)
    for key in sorted(set(EngineConfig.__struct_fields__) - OF_THE_POOL - FILLED_IN - PASSED_OVER - {"proxy"}):
        asked = structs.replace(plain, **{key: SAMPLES[type(getattr(plain, key))]})
        said = [note.text for note in backends.check(asked) if note.path == (key,)]
        if not any("is not read by" in text or NO_EFFECT in text for text in said):
            found.append(key)
    return found


def table_of_keys() -> str:
    rows: dict[str, list[str]] = {}
    for engine in sorted(set(ENGINES) - APART):
        rows.setdefault(", ".join(f"`{key}`" for key in keys_read(engine)), []).append(f"`{engine}`")
    lines = [f"| {', '.join(engines)} | {keys} |" for keys, engines in rows.items()]
    return "\n".join(["| engine | keys |", "|---|---|", *lines, ""])


TABLES = {"names": table, "keys": table_of_keys}


def between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_current(name: str) -> None:
    found = between(name).search(PAGE.read_text())
    assert found is not None
    assert found.group() == TABLES[name](), "run: python -m tests.unit.test_engine_names"


def test_every_name_leads_to_an_engine_or_to_advice() -> None:
    assert {meant.engine for meant in NAMES.values()} <= set(backends.BACKENDS)
    assert {meant.gguf for meant in NAMES.values()} <= {*backends.BACKENDS, ""}
    assert not set(ELSEWHERE) & (set(NAMES) | set(backends.BACKENDS))


@pytest.mark.parametrize("name", ["sglang", "whisper", "diffusers", "local-store", "mlx"])
def test_an_engine_that_is_not_here_says_what_to_do(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^`backend: {name}` {re.escape(ELSEWHERE[name])}[.]$"):
        backends.create(name)


@pytest.mark.parametrize("name", ["rwkv", "mamba", "rerankers", "bert-embeddings", "falcon", "gpt4all-j"])
def test_a_gguf_file_runs_with_llama_cpp_whatever_its_old_name(name: str) -> None:
    assert meant_by(name, "some/Model.GGUF").engine == "llama-cpp"


def test_an_old_name_of_an_embedding_engine_has_a_gguf_file_make_vectors(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nbackend: bert-embeddings\nparameters: {model: a.gguf}\n")
    (tmp_path / "b.yaml").write_text("name: b\nbackend: rerankers\nparameters: {model: b.gguf}\n")
    registry = Registry(Settings(models_path=tmp_path))
    vectors, ranks = registry.get("a"), registry.get("b")
    assert (vectors.backend, vectors.embeddings, vectors.type) == ("llama-cpp", True, "")
    assert (ranks.backend, ranks.reranking, ranks.type) == ("llama-cpp", True, "")


@pytest.mark.parametrize(("name", "engine"), [("rwkv", "rwkv"), ("rerankers", "transformers"), ("exllama", "exllama2")])
def test_other_files_run_with_the_engine_of_the_name(name: str, engine: str) -> None:
    assert meant_by(name, "model.pth").engine == engine


@pytest.mark.parametrize(
    ("method", "engine"),
    [
        (None, "transformers"),
        ("bitsandbytes", "transformers"),
        ("gptq", "gptq"),
        ("exl2", "exllama2"),
        ("EXL3", "exllama3"),
        ("awq", "vllm"),
        ("compressed-tensors", "vllm"),
        ("fp8", "vllm"),
    ],
)
def test_a_folder_chooses_by_how_its_weights_are_stored(tmp_path: Path, method: str | None, engine: str) -> None:
    config = {"quantization_config": {"quant_method": method}} if method else {"architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert choose_engine(tmp_path) == engine


@pytest.mark.parametrize("file", ["openvino_model.xml", "openvino_language_model.xml"])
def test_a_folder_with_openvinos_files_is_openvinos(tmp_path: Path, file: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / file).touch()
    assert choose_engine(tmp_path) == "openvino"


@pytest.mark.parametrize(("name", "engine"), [("a.gguf", "llama-cpp"), ("missing", "llama-cpp"), ("a.pth", "rwkv")])
def test_a_file_chooses_by_its_ending(tmp_path: Path, name: str, engine: str) -> None:
    assert choose_engine(tmp_path / name) == engine


if __name__ == "__main__":
    for name, table in TABLES.items():
        PAGE.write_text(between(name).sub(lambda _, table=table: table(), PAGE.read_text()))
