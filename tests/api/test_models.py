from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from tests.api.conftest import MODEL
from tests.api.fakes import FakePool, says

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("zeta", "org/alpha", "key"):
        (tmp_path / f"{name.replace('/', '-')}.yaml").write_text(MODEL.format(name=name))
    return tmp_path


def test_list(client: FlaskClient, pool: FakePool) -> None:
    pool.state = {"zeta": "ready"}
    body = client.get("/v1/models").get_json()
    assert body["object"] == "list"
    assert [(m["id"], m["state"]) for m in body["data"]] == [("key", "cold"), ("org/alpha", "cold"), ("zeta", "ready")]
    assert all(m["object"] == "model" and m["owned_by"] and m["created"] > 0 for m in body["data"])
    assert client.get("/models").get_json() == body
    assert pool.configs == []


def test_what_a_model_can_do(client: FlaskClient, pool: FakePool, models: Path) -> None:
    (models / "vectors.yaml").write_text("parameters: {model: a.gguf}\nembeddings: true\ncontext_size: 300\n")
    (models / "scores.yaml").write_text("parameters: {model: b.gguf}\nreranking: true\n")
    (models / "nick.yaml").write_text("name: nick\nalias: zeta\n")
    (models / "bert").mkdir()
    (models / "bert" / "config.json").write_text('{"max_position_embeddings": 512}')
    loaded = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "infill"}), context_length=77)
    pool.known = {"zeta": loaded}
    listed = {each["id"]: each for each in client.get("/v1/models").get_json()["data"]}
    text = ["chat", "completion", "edit"]
    assert listed["zeta"]["capabilities"] == [*text, "infill"] and listed["zeta"]["context_length"] == 77
    assert all(listed["nick"][key] == listed["zeta"][key] for key in ("state", "capabilities", "context_length"))
    assert listed["key"]["capabilities"] == [*text, "embeddings", "rerank", "tokenize"]
    assert listed["key"]["context_length"] is None
    vectors = listed["vectors"]
    writes = ["chat", "completion", "edit", "embeddings", "end_thinking", "structured_output", "tokenize"]
    assert vectors["capabilities"] == writes
    assert vectors["context_length"] == 300
    assert listed["scores"]["capabilities"] == ["rerank", "tokenize"]
    assert listed["bert"]["context_length"] == 512
    assert client.get("/v1/models/vectors").get_json() == vectors
    assert client.get("/v1/models/capabilities").get_json()["object"] == "list"
    assert pool.configs == []


def test_a_page_begins_beside_what_is_in_the_list(client: FlaskClient) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    pages = {"after_id=key": ["org/alpha", "zeta"], "before_id=zeta&limit=1": ["org/alpha"], "limit=1": ["key"]}
    for query, ids in pages.items():
        assert [each["id"] for each in client.get(f"/v1/models?{query}", headers=headers).get_json()["data"]] == ids
    for query in ("after_id=nope", "before_id=nope"):
        refused = client.get(f"/v1/models?{query}", headers=headers)
        assert refused.status_code == 400 and "names nope, which is none of the items" in refused.text


def test_what_a_model_has_given_up(client: FlaskClient, pool: FakePool) -> None:
    pool.state = {"zeta": "ready", "key": "ready"}
    pool.known = {"zeta": msgspec.structs.replace(pool.info, given_up="haste; hurry"), "key": pool.info}
    assert client.get("/v1/models/zeta").get_json()["given_up"] == "haste; hurry"
    assert "given_up" not in client.get("/v1/models/key").get_json()


def test_one(client: FlaskClient) -> None:
    assert client.get("/v1/models/org/alpha").get_json()["id"] == "org/alpha"
    missing = client.get("/v1/models/nope")
    assert missing.status_code == 404 and missing.get_json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_how_a_model_is_named(client: FlaskClient, pool: FakePool, prefix: str) -> None:
    def served(path: str, body: dict[str, Any], **kwargs: Any) -> str:
        pool.scripts = [says("a")]
        response = client.post(prefix + path, json=body, **kwargs)
        assert response.status_code == 200, response.text
        assert response.get_json()["model"] == pool.configs[-1].name
        return pool.configs[-1].name

    prompt = {"prompt": "a"}
    assert served("/chat/completions", {**HELLO, "model": "zeta"}) == "zeta"
    assert served("/engines/zeta/chat/completions", HELLO) == "zeta"
    assert served("/engines/org/alpha/chat/completions", HELLO) == "org/alpha"
    assert served("/engines/org/alpha/completions", prompt) == "org/alpha"
    assert served("/engines/zeta/edits", {"instruction": "a"}) == "zeta"
    assert served("/completions?model=zeta", prompt) == "zeta"
    assert served("/completions", prompt, headers={"Authorization": "Bearer zeta"}) == "zeta"
    assert served("/completions", {**prompt, "model": "key"}, headers={"Authorization": "Bearer zeta"}) == "key"
    assert served("/completions", prompt, headers={"Authorization": "Bearer nobody"}) == "key"


class TestWithKey:
    @pytest.fixture
    def settings(self, models: Path) -> dict[str, Any]:
        return {"models_path": models, "api_key": ("key", "zeta"), "default_model": "org/alpha"}

    def test_a_key_is_no_model_name(self, client: FlaskClient, pool: FakePool) -> None:
        for headers, name in (
            ({"Authorization": "Bearer zeta"}, "org/alpha"),
            ({"x-api-key": "key", "Authorization": "Bearer org/alpha"}, "org/alpha"),
        ):
            pool.scripts = [says("a")]
            assert client.post("/v1/completions", json={"prompt": "a"}, headers=headers).status_code == 200
            assert pool.configs[-1].name == name


def test_unknown_model(client: FlaskClient) -> None:
    response = client.post("/v1/chat/completions", json={**HELLO, "model": "gpt-9"})
    assert response.status_code == 404
    assert response.get_json()["error"]["param"] == "model"


def test_the_name_asked_for_is_given_back(client: FlaskClient, pool: FakePool, models: Path) -> None:
    (models / "nick.yaml").write_text("name: gpt-4o\nalias: zeta\n")
    pool.scripts = [says("a")]
    body = client.post("/v1/chat/completions", json={**HELLO, "model": "gpt-4o"}).get_json()
    assert body["model"] == "gpt-4o" and pool.configs[-1].name == "zeta"


def test_where_a_model_lies_and_how_large_it_is(client: FlaskClient, models: Path) -> None:
    for number in (1, 2):
        (models / f"big-0000{number}-of-00002.gguf").write_bytes(b"x" * number)
    (models / "big.yaml").write_text("parameters: {model: big-00001-of-00002.gguf}\n")
    (models / "folder").mkdir()
    (models / "folder" / "config.json").write_text("{}")
    (models / "away.yaml").write_text("parameters: {model: away.gguf}\n")
    listed = {each["id"]: each for each in client.get("/v1/models").get_json()["data"]}
    assert [(listed[name]["backend"], listed[name]["size"]) for name in ("big", "folder", "away", "key")] == [
        ("llama-cpp", 3),
        ("transformers", 2),
        ("llama-cpp", None),
        ("echo", None),
    ]
