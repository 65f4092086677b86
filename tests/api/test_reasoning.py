"""Thinking in OpenAI's dialect: its own field, whole and streamed, never the content."""

from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.generation import FinishReason
from tests.api.fakes import CHATML, FakePool, chunks, says

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
THOUGHT = ("<think>", "\nHm", ", so.\n", "</think>", "\n\n", "Hi", " there")


def ask(client: FlaskClient, **fields: Any) -> Any:
    return client.post("/v1/chat/completions", json={**HELLO, **fields})


def test_whole(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says(*THOUGHT)]
    message = ask(client).get_json()["choices"][0]["message"]
    assert message["content"] == "Hi there"
    assert message["reasoning_content"] == message["reasoning"] == "Hm, so."


def test_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says(*THOUGHT)]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(ask(client, stream=True))]
    assert deltas == [
        {"role": "assistant", "content": None},
        {"reasoning_content": "Hm", "reasoning": "Hm"},
        {"reasoning_content": ", so.", "reasoning": ", so."},
        {"content": "Hi"},
        {"content": " there"},
        {},
    ]


def test_budget_spent_on_thinking(client: FlaskClient, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, chat_template=CHATML + "<think>\n")
    pool.scripts = [says("Hm", ", so", reason=FinishReason.MAX_TOKENS)]
    choice = ask(client).get_json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["reasoning_content"] == "Hm, so" and choice["message"]["content"] == ""


def test_edits_are_without_thoughts(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says(*THOUGHT)]
    body = client.post("/v1/edits", json={"instruction": "Greet.", "input": ""}).get_json()
    assert body["choices"][0]["text"] == "Hi there"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"reasoning_effort": "none"}, "False none"),
        ({"reasoning_effort": "high"}, "True high"),
        ({"metadata": {"enable_thinking": "false", "user": "7"}}, "False "),
        ({"metadata": {"enable_thinking": True, "reasoning_effort": "low"}, "reasoning_effort": "high"}, "True low"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "False "),
    ],
)
def test_levers_reach_the_template(client: FlaskClient, pool: FakePool, fields: dict, shown: str) -> None:
    pool.info = msgspec.structs.replace(pool.info, chat_template="{{ enable_thinking }} {{ reasoning_effort }}")
    pool.scripts = [says("Hi")]
    assert ask(client, **fields).status_code == 200
    assert pool.prompt.text == shown


@pytest.mark.parametrize("metadata", [{"enable_thinking": "maybe"}, {"reasoning_effort": 3}])
def test_levers_that_make_no_sense(client: FlaskClient, metadata: dict) -> None:
    response = ask(client, metadata=metadata)
    assert response.status_code == 400 and response.get_json()["error"]["param"] == "metadata"


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_earlier_thoughts_reach_the_template(client: FlaskClient, pool: FakePool, name: str) -> None:
    pool.info = msgspec.structs.replace(pool.info, chat_template="{{ messages[0].reasoning_content }}")
    pool.scripts = [says("Hi")]
    messages = [{"role": "assistant", "content": "Hi", name: "Hm"}, *HELLO["messages"]]
    assert ask(client, messages=messages).status_code == 200
    assert pool.prompt.text == "Hm"
