"""Anthropic's Messages API against scripted answers, and the official anthropic package on top of it."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from flask import Flask
from flask.testing import FlaskClient
from pydantic import TypeAdapter

from localai_flask.errors import ContextOverflow, Unavailable
from localai_flask.generation import Delta, Finished, FinishReason, Started, Usage
from tests.api.fakes import FakePool, frames, says

httpx = pytest.importorskip("httpx2")
HELLO: dict[str, Any] = {"max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]}
TOOL = {
    "name": "add",
    "description": "Add",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
}
CALLS_TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
    "{% if m.tool_call_id %}@{{ m.tool_call_id }}{% endif %}]{% endfor %}{{ tools | length }}"
)
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


@pytest.fixture
def api(app: Flask) -> Iterator[anthropic.Anthropic]:
    http = anthropic.DefaultHttpxClient(transport=httpx.WSGITransport(app=app))
    with anthropic.Anthropic(base_url="http://test", api_key="none", http_client=http, max_retries=0) as client:
        yield client


def streamed(response: Any) -> list[Any]:
    """The JSON of all events, each checked against the package's types and named by its event line."""
    events = []
    for frame in frames(response.data):
        if frame.startswith(":"):
            continue
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        if event["type"] not in ("ping", "error"):
            TypeAdapter(RawMessageStreamEvent).validate_python(event, strict=False)
        events.append(event)
    return events


def test_whole_message(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi", " there", prompt_tokens=7, cached=3)]
    asked = {**HELLO, "system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "kind."}], "top_k": 5}
    response = client.post("/v1/messages", json=asked, headers={"anthropic-version": "2023-06-01"})
    assert response.status_code == 200
    body = response.get_json()
    assert body["id"].startswith("msg_") and body["model"] == "tiny"
    assert (body["type"], body["role"], body["stop_reason"], body["stop_sequence"]) == (
        "message",
        "assistant",
        "end_turn",
        None,
    )
    assert body["content"] == [{"type": "text", "text": "Hi there", "citations": None}]
    assert body["usage"]["input_tokens"] == 4 and body["usage"]["cache_read_input_tokens"] == 3
    assert body["usage"]["output_tokens"] == 2
    Message.model_validate(body)
    assert pool.prompt.text.startswith("<|im_start|>system\nBe\nkind.<|im_end|>\n<|im_start|>user\nhello<|im_end|>")
    assert (pool.sampling.max_tokens, pool.sampling.top_k) == (64, 5)


def test_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("<think>hm", "</think>", "Hi", " you", *CALL, prompt_tokens=9, cached=2)]
    asked = {**HELLO, "stream": True, "tools": [TOOL]}
    events = streamed(client.post("/messages", json=asked))
    assert events[0]["message"]["usage"]["input_tokens"] == 7
    assert events[1] == {"type": "ping"}
    kinds = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert kinds == ["thinking", "text", "tool_use"]
    starts = [event["index"] for event in events if event["type"] == "content_block_start"]
    stops = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert starts == stops == [0, 1, 2]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(delta.get("text", "") for delta in deltas) == "Hi you"
    assert "".join(delta.get("thinking", "") for delta in deltas) == "hm"
    assert "".join(delta.get("partial_json", "") for delta in deltas) == '{"a": 1}'
    assert [delta["type"] for delta in deltas].count("signature_delta") == 1
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"]["cache_read_input_tokens"] == 2
    assert events[-1] == {"type": "message_stop"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reason", "matched", "told"),
    [
        (FinishReason.EOS, None, ("end_turn", None)),
        (FinishReason.STOP_SEQUENCE, "END", ("stop_sequence", "END")),
        (FinishReason.STOP_SEQUENCE, "from the YAML", ("end_turn", None)),
        (FinishReason.MAX_TOKENS, None, ("max_tokens", None)),
        (FinishReason.CONTEXT, None, ("model_context_window_exceeded", None)),
    ],
)
def test_stop_reasons(
    client: FlaskClient, pool: FakePool, stream: bool, reason: FinishReason, matched: str, told: tuple[str, str]
) -> None:
    pool.scripts = [[Started(3), Delta("x"), Finished(reason, Usage(3, 1), stop_sequence=matched)]]
    response = client.post("/v1/messages", json={**HELLO, "stop_sequences": ["END"], "stream": stream})
    end = streamed(response)[-2]["delta"] if stream else response.get_json()
    assert (end["stop_reason"], end["stop_sequence"]) == told
    assert pool.sampling.stop == ("END",)


def test_a_conversation_with_tools(client: FlaskClient, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, chat_template=CALLS_TEMPLATE)
    pool.scripts = [says("3")]
    messages = [
        {"role": "user", "content": "add"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "so", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "ok"},
                {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
                {"type": "tool_use", "id": "toolu_2", "name": "add", "input": {"a": 2}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "one"}]},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "bad", "is_error": True},
                {"type": "text", "text": "and now?"},
            ],
        },
    ]
    asked = {"max_tokens": 5, "messages": messages, "tools": [TOOL]}
    response = client.post("/v1/messages", json=asked)
    assert response.status_code == 200, response.get_json()
    assert pool.prompt.text.startswith(
        '[user:add][assistant:ok<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
        '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>]'
        "[tool:one@toolu_1][tool:Error: bad@toolu_2][user:and now?]1"
    )


SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CITED = {"type": "document", "source": {"type": "text", "data": "a"}, "citations": {"enabled": True}}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system"}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "messages[0].content[0].source.type",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"tools": [SEARCH], "tool_choice": {"type": "tool", "name": "web_search"}}, "tool_choice"),
        ({"tools": [SEARCH, TOOL], "tool_choice": {"type": "tool", "name": "web_search"}}, "tool_choice"),
        ({"tools": [SEARCH], "tool_choice": "any"}, "tool_choice"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management.edits[0].type"),
        ({"messages": [{"role": "user", "content": [CITED]}]}, "messages[0].content[0].citations"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": "some"}, "tool_choice.type"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "sub"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 64}}, "thinking.budget_tokens"),
        ({"stop_sequences": 3}, "stop_sequences"),
        ({"system": 3}, "system"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_wrong_requests_name_the_field(client: FlaskClient, change: dict[str, Any], where: str) -> None:
    response = client.post("/v1/messages", json={**HELLO, **change})
    assert response.status_code == 400
    body = response.get_json()
    assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith(f"`{where}` ")
    assert body["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize("word", ["auto", "any", "none"])
def test_a_tool_choice_may_be_a_word(client: FlaskClient, pool: FakePool, word: str) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "constrain"}))
    asked = []
    for choice in (word, {"type": word}):
        pool.scripts = [says(*CALL)]
        response = client.post("/v1/messages", json={**HELLO, "tools": [TOOL], "tool_choice": choice})
        assert response.status_code == 200
        asked.append((pool.prompt, pool.sampling, response.get_json()["content"][0]["type"]))
    assert asked[0] == asked[1]
    assert asked[0][2] == ("text" if word == "none" else "tool_use")


def test_errors_have_the_familys_shape_everywhere(client: FlaskClient, pool: FakePool) -> None:
    def kind(response: Any) -> tuple[int, str]:
        return response.status_code, response.get_json()["error"]["type"]

    assert kind(client.post("/v1/messages", json={**HELLO, "model": "nope"})) == (404, "not_found_error")
    assert kind(client.post("/v1/messages/nothing", json={})) == (404, "not_found_error")
    assert kind(client.get("/v1/messages")) == (405, "invalid_request_error")
    assert kind(client.post("/messages", data=b"{", content_type="application/json")) == (400, "invalid_request_error")
    pool.scripts = [[ContextOverflow(10, 5)], [Unavailable("later")]]
    assert kind(client.post("/v1/messages", json=HELLO)) == (400, "invalid_request_error")
    assert kind(client.post("/v1/messages", json=HELLO)) == (503, "overloaded_error")
    assert "type" in client.post("/v1/nothing").get_json()["error"] and client.post("/v1/nothing").status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_no_tokens_bring_the_prompt_into_the_cache(client: FlaskClient, pool: FakePool, stream: bool) -> None:
    pool.scripts = [says("Hi", reason=FinishReason.MAX_TOKENS)]
    answer = client.post("/v1/messages", json={**HELLO, "max_tokens": 0, "stream": stream})
    told = streamed(answer) if stream else [answer.get_json()]
    assert not any(event["type"].startswith("content_block") for event in told), "there is no answer"
    whole = told[-2] if stream else {"delta": told[0], "usage": told[0]["usage"]}
    assert (whole["delta"]["stop_reason"], whole["usage"]["output_tokens"]) == ("max_tokens", 0)
    assert stream or told[0]["content"] == []
    assert pool.sampling.max_tokens == 1


def test_errors_in_the_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [[Started(3), Delta("x"), Unavailable("gone")]]
    response = client.post("/v1/messages", json={**HELLO, "stream": True}, headers={"X-Request-Id": "mine"})
    events = streamed(response)
    assert events[-1] == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "gone"},
        "request_id": "mine",
    }


@pytest.mark.parametrize("header", ["x-api-key", "Authorization"])
def test_keys(models: Any, pool: FakePool, header: str) -> None:
    from localai_flask.app import create_app
    from localai_flask.settings import Settings

    client = create_app(Settings(models_path=models, api_key=("secret",)), pool=pool).test_client()  # type: ignore[arg-type]
    refused = client.post("/v1/messages", json=HELLO)
    assert (refused.status_code, refused.get_json()["error"]["type"]) == (401, "authentication_error")
    pool.scripts = [says("x")]
    value = "secret" if header == "x-api-key" else "Bearer secret"
    assert client.post("/v1/messages", json=HELLO, headers={header: value}).status_code == 200


def test_thinking_can_be_left_out_or_hidden(client: FlaskClient, pool: FakePool) -> None:
    script = says("<think>hm</think>", "Hi")
    for thinking, blocks in (
        ({"type": "disabled"}, ["text"]),
        ({"type": "adaptive", "display": "omitted"}, ["thinking", "text"]),
    ):
        for stream in (False, True):
            pool.scripts = [script]
            response = client.post("/v1/messages", json={**HELLO, "thinking": thinking, "stream": stream})
            if stream:
                events = streamed(response)
                starts = [e["content_block"] for e in events if e["type"] == "content_block_start"]
                assert not any(e["delta"].get("thinking") for e in events if e["type"] == "content_block_delta")
            else:
                starts = response.get_json()["content"]
                assert not starts[0].get("thinking")
            assert [start["type"] for start in starts] == blocks


def test_a_thinking_budget_reaches_the_engine(client: FlaskClient, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "constrain", "end_thinking"}))
    pool.scripts = [says("Hi")]
    asked = {**HELLO, "thinking": {"type": "enabled", "budget_tokens": 32}}
    assert client.post("/v1/messages", json=asked).status_code == 200
    assert pool.sampling.thinking is not None and pool.sampling.thinking.tokens == 32


def test_official_client(api: anthropic.Anthropic, pool: FakePool) -> None:
    pool.scripts = [says("Hi", "!")]
    message = api.messages.create(model="tiny", **HELLO)
    assert message.content[0].text == "Hi!" and message.usage.output_tokens == 2
    pool.scripts = [says("<think>hm</think>", "Let me", " see.", *CALL)]
    with api.messages.stream(model="tiny", tools=[TOOL], **HELLO) as stream:
        assert "".join(stream.text_stream) == "Let me see."
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use"]
    assert final.content[2].input == {"a": 1} and final.stop_reason == "tool_use"
    with pytest.raises(anthropic.NotFoundError) as missing:
        api.messages.create(model="nope", **HELLO)
    assert missing.value.body["error"]["type"] == "not_found_error"
    assert missing.value.request_id
    pool.scripts = [[Unavailable("later")]]
    with pytest.raises(anthropic.InternalServerError):
        api.messages.create(model="tiny", **HELLO)


BEGUN: dict[str, Any] = {**HELLO, "messages": [*HELLO["messages"], {"role": "assistant", "content": "The answer is ("}]}


def test_the_last_message_is_gone_on_with(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("B", ")")]
    body = client.post("/v1/messages", json=BEGUN).get_json()
    assert body["content"][0]["text"] == "B)"
    assert pool.prompt.text.endswith("<|im_start|>assistant\nThe answer is (")
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "tokenize"}))
    client.post("/v1/messages/count_tokens", json=BEGUN)
    assert pool.questions[-1].prompt.text == pool.prompt.text  # type: ignore[union-attr]


def test_an_empty_last_message_begins_nothing(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi")]
    empty = {**HELLO, "messages": [*HELLO["messages"], {"role": "assistant", "content": ""}]}
    assert client.post("/v1/messages", json=empty).status_code == 200
    assert pool.prompt.text.endswith("hello<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"max_tokens": 99, "thinking": {"type": "enabled", "budget_tokens": 9}}, "`thinking`"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "`output_config.format`"),
    ],
)
def test_what_a_begun_answer_cannot_have(client: FlaskClient, more: dict[str, Any], named: str) -> None:
    refused = client.post("/v1/messages", json={**BEGUN, **more})
    assert refused.status_code == 400 and refused.get_json()["error"]["message"].startswith(named)


def test_a_budget_that_no_engine_keeps_is_refused_by_its_name_here(client: FlaskClient) -> None:
    asked = {**HELLO, "thinking": {"type": "enabled", "budget_tokens": 32}}
    refused = client.post("/v1/messages", json=asked)
    assert refused.status_code == 400 and "`thinking.budget_tokens`" in refused.get_json()["error"]["message"]


def test_the_clients_list_of_models(api: anthropic.Anthropic) -> None:
    (model,) = api.models.list()
    assert (model.id, model.type, model.display_name) == ("tiny", "model", "tiny")
    assert model.created_at.year > 2000
    assert api.models.retrieve("tiny").id == "tiny"


USE: dict[str, Any] = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "add", "input": {}}]}
RESULT: dict[str, Any] = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "3"}]}
USER: dict[str, Any] = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ([USER, USE], "messages[1]"),
        ([USER, {**USE, "content": [*USE["content"], {**USE["content"][0], "id": "t2"}]}, RESULT], "messages[1]"),
        ([USER, RESULT], "messages[1]"),
        ([USER, USE, RESULT, {"role": "assistant", "content": "3"}, RESULT], "messages[4]"),
    ],
)
def test_uses_and_results_belong_together(client: FlaskClient, messages: list[Any], where: str) -> None:
    refused = client.post("/v1/messages", json={**HELLO, "tools": [TOOL], "messages": messages})
    assert refused.status_code == 400 and refused.get_json()["error"]["message"].startswith(f"`{where}.content`")


def test_results_may_come_in_several_messages(client: FlaskClient, pool: FakePool) -> None:
    again = {"role": "assistant", "content": [{**USE["content"][0], "id": "t2"}]}
    second = {"role": "user", "content": [{**RESULT["content"][0], "tool_use_id": "t2"}]}
    for messages in ([USER, USE, again, RESULT, second], [USER, USE, RESULT, again, second, USER]):
        pool.scripts = [says("3")]
        asked = {**HELLO, "tools": [TOOL], "messages": messages}
        assert client.post("/v1/messages", json=asked).status_code == 200
