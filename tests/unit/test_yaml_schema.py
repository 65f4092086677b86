"""The JSON Schema of model YAML agrees with what is read: what is taken without a word fits, mistakes do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from localai_flask.config.model_yaml import file_reader
from localai_flask.config.model_yaml.file_reader import Broken
from localai_flask.config.model_yaml.json_schema import json_schema
from localai_flask.config.model_yaml.key_fates import KEY_FATES

GOOD: list[Any] = [
    {"name": "a", "parameters": {"model": "a.gguf", "temperature": 0.5, "logit_bias": {"12": 1}}},
    {
        "parameters": {"model": "a.gguf"},
        "stopwords": "###",
        "keep_alive": "10m",
        "main_gpu": 0,
        "flash_attention": True,
    },
    {"parameters": {"model": "a.gguf"}, "keep_alive": -1, "options": ["parallel:4"], "roles": {"user": "U:"}},
    {"parameters": {"model": "a.gguf"}, "variants": {"precise": {"parameters": {"temperature": 0}}}},
    {"parameters": {"model": "a.gguf"}, "function": {"grammar": {"triggers": [{"word": "<tool>"}]}}},
    {"parameters": {"model": "a.gguf"}, "reasoning": {"tag_pairs": [{"start": "<t>", "end": "</t>"}]}},
    [{"name": "a", "backend": "echo"}, {"name": "b", "alias": "a"}],
]
BAD: list[tuple[Any, str]] = [
    ({"parameters": {"model": "a.gguf", "temprature": 1}}, "temprature"),
    ({"parameters": {"model": "a.gguf", "top_p": 2}}, "top_p"),
    ({"parameters": {"model": "a.gguf"}, "limits": {"max_concurrent": -1}}, "limits"),
    ({"parameters": {"model": "a.gguf"}, "contextsize": 3}, "contextsize"),
    ({"parameters": {"model": "a.gguf"}, "keep_alive": "soon"}, "keep_alive"),
]


def faults(content: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(json_schema()).iter_errors(content)]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("content", GOOD, ids=range(len(GOOD)))
def test_what_is_read_without_a_word_fits(content: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    items = file_reader.read(file, yaml.safe_dump(content))
    assert not any(isinstance(item, Broken) or item.findings for item in items), items
    assert faults(content) == []


@pytest.mark.parametrize(("content", "key"), BAD, ids=[key for _, key in BAD])
def test_what_is_refused_or_warned_about_does_not(content: Any, key: str, tmp_path: Path) -> None:
    items = file_reader.read(tmp_path / "model.yaml", yaml.safe_dump(content))
    assert any(isinstance(item, Broken) or item.findings for item in items)
    assert faults(content) != []


def test_keys_that_are_not_read_are_marked() -> None:
    properties = json_schema()["$defs"]["ModelConfig"]["properties"]
    top = {key for key in KEY_FATES if "." not in key}
    assert all(properties[key]["deprecated"] for key in top)
    assert "pinned" in properties and "description" in properties["pinned"]
    described = [each["description"] for each in json_schema()["$defs"].values()]
    assert all(described) and not any("\n\n" in text for text in described), "shown by editors as they are"
    assert not {"source", "models_path", "variant_of", "file_stamp"} & properties.keys()
