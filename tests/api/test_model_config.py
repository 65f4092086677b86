"""Configurations over HTTP: shown with their origins, changed key by key, refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask import Flask
from flask.testing import FlaskClient

from localai_flask.api import current
from localai_flask.config.editor import change_model
from localai_flask.errors import ModelNotFound
from tests.support.gguf_models import random_llama

YAML = """\
# My model.
name: own
backend: echo   # not the real one
threads: 3
parameters:
  temperature: 0.5  # cool
stopwords: ["###"]
variants:
  precise:
    parameters: {temperature: 0}
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "own.yaml").write_text(YAML)
    (tmp_path / "two.yaml").write_text("- {name: left, backend: echo}\n- {name: right, backend: echo}\n")
    (tmp_path / "off.yaml").write_text("name: off\nbackend: echo\ndisabled: true\n")
    return tmp_path


def origins(client: FlaskClient, model: str) -> dict[str, tuple[Any, str]]:
    body = client.get(f"/api/models/config-effective/{model}").get_json()
    return {each["key"]: (each["value"], each["origin"]) for each in body["keys"]}


def patch(client: FlaskClient, model: str, **changes: Any) -> tuple[int, Any]:
    answer = client.patch(f"/api/models/config-json/{model}", json=changes)
    return answer.status_code, answer.get_json()


def test_each_key_says_where_it_comes_from(client: FlaskClient, settings: dict[str, Any]) -> None:
    found = origins(client, "own")
    assert found["threads"] == (3, "own.yaml, line 4")
    assert found["parameters.temperature"] == (0.5, "own.yaml, line 6")
    assert found["parameters.min_p"] == (0.05, "the default of this server")
    varied = origins(client, "own:precise")
    assert varied["parameters.temperature"] == (0, "own.yaml, line 10")
    assert varied["threads"] == (3, "own.yaml, line 4")


def test_the_file_the_family_and_the_settings_count_too(
    client: FlaskClient, settings: dict[str, Any], models: Path
) -> None:
    random_llama(models / "gemma-3-tiny.gguf")
    (models / "gemma-3-tiny.gguf.tmpl").write_text("{{.Input}}")
    found = origins(client, "gemma-3-tiny.gguf")
    assert found["parameters.top_k"] == (64, "its family")
    assert found["context_size"][0] == 4096
    assert "trained for 4096" in found["context_size"][1]
    assert found["template.chat"] == ("{{.Input}}", "gemma-3-tiny.gguf.tmpl")
    assert found["backend"] == ("llama-cpp", "what the model's files are")


def test_a_change_leaves_the_rest_of_the_file_as_it_is(client: FlaskClient, models: Path) -> None:
    status, body = patch(client, "own", parameters={"temperature": 0.9, "top_k": 5}, description="mine")
    assert status == 200, body
    assert not body["needs_load"]
    assert body["config"]["parameters"] == {"temperature": 0.9, "top_k": 5}
    text = (models / "own.yaml").read_text()
    changed = YAML.replace("  temperature: 0.5  # cool", "  temperature: 0.9  # cool\n  top_k: 5")
    assert text == f"{changed}description: mine\n"
    assert client.get("/api/models/config-json/own").get_json()["description"] == "mine"


def test_null_takes_a_key_away_and_a_change_of_the_engine_needs_a_load(client: FlaskClient, models: Path) -> None:
    status, body = patch(client, "own", threads=None, stopwords=None)
    assert (status, body["needs_load"]) == (200, True)
    assert "threads" not in body["config"] and "threads" not in (models / "own.yaml").read_text()


def test_a_variant_and_a_model_of_a_list_are_changed_alone(client: FlaskClient, models: Path) -> None:
    assert patch(client, "own:precise", parameters={"top_p": 0.5})[0] == 200
    assert "precise:\n    parameters: {temperature: 0, top_p: 0.5}" in (models / "own.yaml").read_text()
    assert patch(client, "right", description="this one")[0] == 200
    found = [client.get(f"/api/models/config-json/{name}").get_json().get("description") for name in ("left", "right")]
    assert found == [None, "this one"]


def test_adapters_are_changed_alone_and_say_what_is_their_parents(client: FlaskClient, models: Path) -> None:
    random_llama(models / "base.gguf")
    (models / "base.yaml").write_text(
        "name: base\nparameters: {model: base.gguf, temperature: 0.4}\nadapters:\n  short: a.gguf  # loud\n"
    )
    (models / "own-file.yaml").write_text("parent: base\nlora_adapter: b.gguf\n")
    client.post("/models/reload")
    found = origins(client, "own-file")
    assert found["parent"] == ("base", "own-file.yaml, line 1")
    assert found["parameters.temperature"] == (0.4, "its parent base")
    for name in ("short", "own-file"):
        status, changed = patch(client, name, system_prompt="Hello.")
        assert status == 200 and changed["needs_load"] is False
        assert (
            changed["config"]["system_prompt"] == "Hello." and changed["config"]["parameters"]["model"] == "base.gguf"
        )
    text = (models / "base.yaml").read_text()
    assert " ".join(text.split()).endswith("adapters: short: # loud lora_adapter: a.gguf system_prompt: Hello."), text
    assert patch(client, "short", context_size=9)[0] == patch(client, "own-file", context_size=9)[0] == 400
    assert (models / "base.yaml").read_text() == text


def test_a_disabled_model_can_be_enabled(client: FlaskClient) -> None:
    assert patch(client, "off", disabled=False)[0] == 200
    answer = client.post("/v1/chat/completions", json={"model": "off", "messages": [{"role": "user", "content": "x"}]})
    assert answer.status_code != 403


def test_another_web_worker_may_have_changed_the_folder(client: FlaskClient, app: Flask, models: Path) -> None:
    random_llama(models / "bare.gguf")
    client.get("/v1/models")
    (models / "bare.yaml").write_text("name: bare.gguf\nparameters: {model: bare.gguf}\n")
    assert patch(client, "bare.gguf", description="mine")[0] == 200
    with app.app_context():
        registry = current.registry()
    config = registry.get("own")
    (models / "own.yaml").unlink()
    with pytest.raises(ModelNotFound):
        change_model(registry, config, {"description": "a ghost"})
    assert patch(client, "own", description="a ghost")[0] == 404 and not (models / "own.yaml").exists()


def test_what_could_not_be_read_again_for_its_length_is_not_written(client: FlaskClient, models: Path) -> None:
    status, body = patch(client, "own", description="x" * 1_100_000)
    assert status == 400 and "shorten it" in body["error"]["message"]
    assert (models / "own.yaml").read_text() == YAML


def test_a_bare_file_gets_a_yaml(client: FlaskClient, models: Path) -> None:
    random_llama(models / "bare.gguf")
    status, body = patch(client, "bare.gguf", parameters={"temperature": 0})
    assert status == 200, body
    assert (models / "bare.yaml").read_text().startswith("name: bare.gguf\nparameters:\n  model: bare.gguf\n")
    listed = [each["id"] for each in client.get("/v1/models").get_json()["data"]]
    assert listed.count("bare.gguf") == 1


@pytest.mark.parametrize(
    ("changes", "param", "said"),
    [
        ({"parameters": {"top_p": "high"}}, "parameters.top_p", "must be a number"),
        ({"name": "other"}, "name", "cannot be changed"),
        ({"limits": 3}, "limits", ""),
        ({"template": {"chat": "{{.Input"}}, "template.chat", ""),
        ({"parameters": {"model": "../../etc/passwd"}}, "parameters.model", ""),
        ({"alias": "two"}, "alias", "only names another model"),
        ({"variants": {"precise": {"threads": 9}}}, "threads", "decides how the model is loaded"),
    ],
)
def test_what_cannot_be_used_is_not_written(
    client: FlaskClient, models: Path, changes: dict[str, Any], param: str, said: str
) -> None:
    status, body = patch(client, "own", **changes)
    assert status == 400, body
    assert body["error"]["param"] == param
    assert said in body["error"]["message"]
    assert (models / "own.yaml").read_text() == YAML


def test_a_warning_comes_with_the_answer(client: FlaskClient) -> None:
    status, body = patch(client, "own", ngqa=8)
    assert status == 200
    assert "no effect" in body["warnings"][0]


@pytest.mark.parametrize("body", ["[]", "7", "{}", "{", ""])
def test_a_body_without_changes(client: FlaskClient, body: str) -> None:
    assert client.patch("/api/models/config-json/own", data=body).status_code == 400


def test_unknown_models(client: FlaskClient) -> None:
    assert client.get("/api/models/config-json/none").status_code == 404
    assert patch(client, "none", description="x")[0] == 404


def test_the_schema_is_served(client: FlaskClient) -> None:
    jsonschema.Draft202012Validator.check_schema(client.get("/models/schema.json").get_json())
