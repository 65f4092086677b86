"""Every key that LocalAI's gallery and its users write: each loads, alone and with all the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from localai_flask import backends
from localai_flask.config.files.listing import look
from localai_flask.config.folder.catalog import Catalog, build
from localai_flask.config.model_yaml import file_reader
from localai_flask.settings import Settings

FACTS = yaml.safe_load((Path(__file__).parents[1] / "data" / "localai_gallery_keys.yaml").read_text())
OF_USERS = [
    ("preload", True, "warned"),
    ("engine_args", {"enable_prefix_caching": True, "kv_transfer": {"role": "both"}}, "read"),
    ("model_base_name", "model-GPTQ-4bit-128g.no-act.order", "read"),
    ("function.parallel_calls", True, "warned"),
    ("function.no_grammar", True, "warned"),
    ("parameters.translate", True, "quiet"),
    ("pipeline", {"tts": "voice", "llm": "model"}, "quiet"),
    ("mcp", {"remote": "mcpServers: {}"}, "warned"),
    ("main_gpu", "cuda.0", "read"),
    ("main_gpu", "AUTO:-CPU", "read"),
    ("temperature", 0.2, "read"),
    ("top_k", 80, "read"),
    ("top_p", 80, "warned"),
]
"""What LocalAI's documentation, its installer and its users write beside."""


DEFAULTS = ("llama-cpp", "key", "value")
"""Values that are those of a key which is not given."""


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {key: merged(one[key], other[key]) for key in one.keys() & other.keys() if isinstance(one[key], dict)}
    return one | other | both


def load(folder: Path, content: dict[str, Any]) -> Catalog:
    file = folder / "model.yaml"
    file.write_text(yaml.safe_dump(merged({"parameters": {"model": "model.gguf"}}, content)))
    return build(look(folder), {file.name: file_reader.read(file)}, Settings(models_path=folder))


def check(folder: Path, key: str, value: Any, fate: str, beside: dict[str, Any] | None = None) -> None:
    catalog = load(folder, merged(beside or {}, nested(key, value)))
    (config,) = catalog.models.values()
    assert catalog.problems == {}
    assert [finding.is_fault for finding in catalog.findings] == [False] * (fate == "warned")
    plain = next(iter(load(folder, beside or {}).models.values()))
    if fate != "read":
        assert config == plain or key == "top_p"
    elif value not in DEFAULTS:
        assert config != plain, "what is read leaves a trace"


@pytest.mark.parametrize(
    ("fact", "value"),
    [(fact, value) for fact in FACTS for value in fact["values"]],
    ids=lambda each: each["key"] if isinstance(each, dict) and "fate" in each else None,
)
def test_each_fact_loads_alone(tmp_path: Path, fact: dict[str, Any], value: Any) -> None:
    check(tmp_path, fact["key"], value, fact["fate"])


@pytest.mark.parametrize(("key", "value", "fate"), OF_USERS)
def test_what_users_write_loads(tmp_path: Path, key: str, value: Any, fate: str) -> None:
    check(tmp_path, key, value, fate)


def test_keys_that_need_another_are_quiet_beside_it(tmp_path: Path) -> None:
    for fact in FACTS:
        if "beside" in fact:
            content = merged(nested(fact["beside"], True), nested(fact["key"], fact["values"][0]))
            assert load(tmp_path, content).findings == ()


def test_all_facts_load_together(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    for fact in FACTS:
        content = merged(content, nested(fact["key"], fact["values"][0]))
    catalog = load(tmp_path, content)
    assert list(catalog.models) == ["Qwen3-Coder-Next-MXFP4_MOE-GGUF"]
    assert not any(finding.is_fault for finding in catalog.findings)
    (config,) = catalog.models.values()
    assert not any(note.is_fault for note in backends.check(config))
