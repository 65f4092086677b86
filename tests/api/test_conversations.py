"""Conversations by HTTP over a pool of scripts: what the model reads, what is added, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from localai_flask.errors import Unavailable
from localai_flask.generation import Delta, Started
from localai_flask.pool.runtime import ENV
from localai_flask.store.responses import conversations
from tests.api.fakes import FakePool, says
from tests.api.test_responses import create, stream, text_of

PATH = "/v1/conversations"


def begin(client: FlaskClient, *texts: str, **more: Any) -> str:
    items = [{"role": "user", "content": text} for text in texts]
    answer = client.post(PATH, json={"items": items, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json["id"])


def texts(client: FlaskClient, id: str) -> list[str]:
    listed = client.get(f"{PATH}/{id}/items?order=asc&limit=100").json
    return [part["text"] for item in listed["data"] for part in item.get("content", [])]


def test_a_response_reads_the_conversation_and_adds_its_turn(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi"), says("Again")]
    id = begin(client, "zero")
    first = create(client, conversation=id, input="one")
    assert first["conversation"] == {"id": id} and text_of(first) == "Hi"
    stream(client, conversation={"id": id}, input="two")
    assert texts(client, id) == ["zero", "one", "Hi", "two", "Again"]
    said = [line for line in pool.prompt.text.split("\n") if line and not line.startswith("<|")]
    assert [text.removesuffix("<|im_end|>") for text in said] == ["zero", "one", "Hi", "two"]


def test_what_is_not_stored_is_a_turn_all_the_same(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi")]
    id = begin(client)
    response = create(client, conversation=id, input="one", store=False)
    assert texts(client, id) == ["one", "Hi"]
    assert client.get(f"/v1/responses/{response['id']}").status_code == 404


def test_a_conversation_itself_can_be_answered(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi")]
    id = begin(client, "zero")
    create(client, conversation=id, input=None)
    assert texts(client, id) == ["zero", "Hi"]
    assert create(client, 400, conversation=begin(client), input=None)["error"]["param"] == "input"


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(("script", "releases"), [(says("Hi"), 0), ([Unavailable("gone")], 1)], ids=["turn", "failure"])
def test_a_conversation_is_given_free_once(
    client: FlaskClient,
    pool: FakePool,
    monkeypatch: pytest.MonkeyPatch,
    script: list[Any],
    releases: int,
    stored: bool,
) -> None:
    released: list[str] = []
    release = conversations.release
    monkeypatch.setattr(conversations, "release", lambda *given: released.append(given[1]) or release(*given))
    pool.scripts = [script]
    id = begin(client)
    client.post("/v1/responses", json={"conversation": id, "input": "one", "store": stored, "stream": True}).get_data()
    assert released == [id] * releases
    pool.scripts = [says("Again")]
    create(client, conversation=id, input="two")


@pytest.mark.parametrize("streams", [False, True])
def test_a_failure_leaves_it_as_it_was_and_free(client: FlaskClient, pool: FakePool, streams: bool) -> None:
    id = begin(client, "zero")
    broken = [Started(1), Delta("a"), Unavailable("The worker died.")]
    pool.scripts = [broken, says("Hi")]
    if streams:
        assert stream(client, conversation=id)[-1]["type"] == "response.failed"
    else:
        create(client, 503, conversation=id)
    assert texts(client, id) == ["zero"]
    create(client, 400, conversation=id, tool_choice="required")
    create(client, conversation=id, input="one")
    assert texts(client, id) == ["zero", "one", "Hi"]


def test_a_client_that_leaves_leaves_it_free(client: FlaskClient, pool: FakePool) -> None:
    id = begin(client)
    pool.scripts = [says(*"abcdef"), says("Hi")]
    body = {"model": "tiny", "input": "one", "stream": True, "conversation": id}
    answer = client.post("/v1/responses", json=body, buffered=False)
    next(iter(answer.response))
    assert create(client, 409, conversation=id)["error"]["code"] == "conversation_locked"
    answer.close()
    create(client, conversation=id, input="two")
    assert texts(client, id) == ["two", "Hi"]


def test_while_a_background_response_is_being_made_another_is_refused(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV, str(tmp_path))
    id = begin(client, "zero")
    run = create(client, conversation=id, background=True)
    assert run["conversation"] == {"id": id}
    refused = client.post("/v1/responses", json={"model": "tiny", "input": "x", "conversation": id})
    assert refused.status_code == 409 and refused.headers["Retry-After"]
    for method, path in [("POST", "/items"), ("DELETE", "")]:
        answer = client.open(f"{PATH}/{id}{path}", method=method, json={"items": []})
        assert answer.status_code == 409, answer.text
    client.delete(f"/v1/responses/{run['id']}")


def test_items_come_in_pages_and_are_read_and_deleted(client: FlaskClient) -> None:
    id = begin(client, "a", "b", metadata={"topic": "x"})
    added = client.post(f"{PATH}/{id}/items", json={"items": [{"role": "assistant", "content": "c"}]}).json
    (item,) = added["data"]
    assert added["first_id"] == added["last_id"] == item["id"] and not added["has_more"]
    page = client.get(f"{PATH}/{id}/items?limit=2").json
    assert [each["content"][0]["text"] for each in page["data"]] == ["c", "b"] and page["has_more"]
    rest = client.get(f"{PATH}/{id}/items?after={page['last_id']}").json
    assert [each["content"][0]["text"] for each in rest["data"]] == ["a"] and not rest["has_more"]
    assert client.get(f"{PATH}/{id}/items/{item['id']}").json == item
    assert client.delete(f"{PATH}/{id}/items/{item['id']}").json["metadata"] == {"topic": "x"}
    assert client.get(f"{PATH}/{id}/items/{item['id']}").status_code == 404
    assert texts(client, id) == ["a", "b"]


def test_metadata_is_replaced(client: FlaskClient) -> None:
    id = begin(client, metadata={"a": "1"})
    assert client.post(f"{PATH}/{id}", json={"metadata": {"b": "2"}}).json["metadata"] == {"b": "2"}
    assert client.post(f"{PATH}/{id}", json={"metadata": None}).json["metadata"] == {}
    assert client.get(f"{PATH}/{id}").json["object"] == "conversation"
    assert client.post(f"{PATH}/{id}", json={}).json["error"]["param"] == "metadata"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": "hello"}, "items"),
        ({"items": [{"role": "user", "content": "x"}] * 21}, "items"),
        ({"items": [{"role": "user"}]}, "items[0].content"),
        ({"items": [{"type": "item_reference", "id": "nothing"}]}, "input[0].id"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"metadata": {"k" * 65: "v"}}, f"metadata.{'k' * 65}"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
    ],
)
def test_refusals_name_the_field(client: FlaskClient, body: dict[str, Any], param: str) -> None:
    answer = client.post(PATH, json=body)
    assert answer.status_code in (400, 404) and answer.json["error"]["param"] == param


def test_one_that_is_gone_is_a_404_everywhere(client: FlaskClient) -> None:
    id = begin(client, "a")
    assert client.delete(f"{PATH}/{id}").json == {"id": id, "object": "conversation.deleted", "deleted": True}
    for method, path in [("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/items"), ("POST", "/items")]:
        answer = client.open(f"{PATH}/{id}{path}", method=method, json={"items": [], "metadata": {}})
        assert answer.status_code == 404 and id in answer.json["error"]["message"]
    error = create(client, 404, conversation=id)["error"]
    assert error["param"] == "conversation"
    counted = client.post("/v1/responses/input_tokens", json={"model": "tiny", "input": "x", "conversation": id})
    assert counted.status_code == 404
