"""Open Responses over a pool of scripts: what is asked of the model, and what is told of its answer."""

import json
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from localai_flask.api.responses.stream import follow
from localai_flask.app import create_app
from localai_flask.errors import ContextOverflow, Unavailable
from localai_flask.generation import Delta, FinishReason, Started, TokenLogprob
from localai_flask.inquiry import Tokenized
from localai_flask.settings import Settings
from tests.api.fakes import FakePool, frames, says

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ADD = {"type": "function", "name": "add", "parameters": {"type": "object"}}
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def create(client: FlaskClient, status: int = 200, **body: Any) -> Any:
    answer = client.post("/v1/responses", json={"model": "tiny", "input": "hello", **body})
    assert answer.status_code == status, answer.text
    if status == 200:
        Response.model_validate(answer.json, strict=True)
    return answer.json


def stream(client: FlaskClient, **body: Any) -> list[Any]:
    """The events of a stream, each of which has the shape that the official package declares."""
    answer = client.post("/v1/responses", json={"model": "tiny", "input": "hello", "stream": True, **body})
    assert answer.status_code == 200, answer.text
    return events(answer.data)


def events(body: bytes) -> list[Any]:
    told = []
    parts = [frame for frame in frames(body) if not frame.startswith(":")]
    assert parts[-1] == "data: [DONE]"
    for frame in parts[:-1]:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        EVENT.validate_python(event, strict=True)
        assert name == f"event: {event['type']}"
        told.append(event)
    check_sequence(told)
    return told


def check_sequence(told: list[Any]) -> None:
    """Numbers have no gap, and whatever is added is done, once and in its place."""
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    opened: list[tuple] = []
    for event in told:
        kind, _, step = event["type"].rpartition(".")
        place = (kind, event.get("output_index"), event.get("content_index"), event.get("summary_index"))
        if step == "added":
            opened.append(place)
        elif place in opened:
            assert step == "done" and opened.pop() == place
    assert opened == []


def kinds(told: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in told]


def text_of(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def test_text(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi", "!", cached=2)]
    response = create(client, instructions="Be brief.", temperature=0.5, metadata={"a": "b"}, user="me")
    assert text_of(response) == "Hi!" and response["status"] == "completed"
    assert response["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    }
    assert response["temperature"] == 0.5 and response["metadata"] == {"a": "b"} and response["user"] == "me"
    assert response["completed_at"] >= response["created_at"] > 0 and response["instructions"] == "Be brief."
    assert pool.prompt.text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhello")
    assert pool.sampling.temperature == 0.5


def test_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi", "!")]
    told = stream(client)
    assert kinds(told) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert told[0]["response"]["status"] == "in_progress" and told[0]["response"]["output"] == []
    assert told[-1]["response"]["output"] == [told[-2]["item"]]
    assert {event["item_id"] for event in told if "item_id" in event} == {told[-2]["item"]["id"]}


def test_stream_and_whole_are_the_same(client: FlaskClient, pool: FakePool) -> None:
    script = ["<think>", "Hm", ".", "</think>", "So: ", *CALL, *CALL.replace("1", "2"), " done"]
    pool.scripts = [says(*script), says(*script)]
    told = stream(client, tools=[ADD], parallel_tool_calls=True)[-1]["response"]
    whole = create(client, tools=[ADD], parallel_tool_calls=True)

    def without_ids(response: Any) -> Any:
        return [{key: value for key, value in item.items() if "id" not in key} for item in response["output"]]

    assert without_ids(told) == without_ids(whole)
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"] + 2 * ["function_call"] + ["message"]
    assert whole["output"][2]["arguments"] == '{"a": 1}'


def test_tools(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says(*CALL)]
    told = stream(client, tools=[ADD])
    call = told[-1]["response"]["output"][0]
    assert call["name"] == "add" and call["call_id"].startswith("call_") and call["id"].startswith("fc_")
    deltas = [event["delta"] for event in told if event["type"].endswith("arguments.delta")]
    assert "".join(deltas) == call["arguments"] == '{"a": 1}'
    pool.scripts = [says("2")]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "two"}
    create(client, input=[{"role": "user", "content": "1+1"}, call, result], tools=[ADD])
    assert "two" in pool.prompt.text and "add" in pool.prompt.text


def test_a_result_without_its_call_is_refused(client: FlaskClient, pool: FakePool) -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "two"}
    error = create(client, 400, input=[{"role": "user", "content": "1+1"}, result])["error"]
    assert (
        error["param"] == "input[1].call_id" and "'call_1' is not the `call_id` of a function_call" in error["message"]
    )
    pool.scripts = [says("1")]
    first = create(client, input=[call, result])
    pool.scripts = [says(*CALL)]
    second = create(client, previous_response_id=first["id"], tools=[ADD])
    pool.scripts = [says("2")]
    result["call_id"] = second["output"][0]["call_id"]
    assert create(client, previous_response_id=second["id"], input=[result])["status"] == "completed"


def test_no_more_calls_than_asked_for(client: FlaskClient, pool: FakePool) -> None:
    calls = [*CALL, *CALL.replace("1", "2"), *CALL.replace("1", "3")]
    pool.scripts = [says(*calls)]
    response = create(client, tools=[ADD], max_tool_calls=2, parallel_tool_calls=True)
    assert [item["type"] for item in response["output"]] == 2 * ["function_call"]
    for asked in ({"parallel_tool_calls": False}, {}, {"max_tool_calls": 1, "parallel_tool_calls": True}):
        pool.scripts = [says(*calls)]
        assert len(create(client, tools=[ADD], **asked)["output"]) == 1


def test_allowed_tools_are_all_that_the_model_sees(client: FlaskClient, pool: FakePool) -> None:
    other = {"type": "function", "name": "subtract"}
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "add"}]}
    pool.scripts = [says("x"), says("x"), says("x")]
    response = create(client, tools=[ADD, other], tool_choice=choice)
    assert "add" in pool.prompt.text and "subtract" not in pool.prompt.text
    assert response["tool_choice"] == choice and len(response["tools"]) == 2
    create(client, tools=[ADD, other], allowed_tools=["subtract"])
    assert "subtract" in pool.prompt.text and '"add"' not in pool.prompt.text
    create(client, tools=[ADD, other], tool_choice="none")
    assert "subtract" not in pool.prompt.text


def test_reasoning(client: FlaskClient, pool: FakePool) -> None:
    script = says("<think>", "Let me", " see", "</think>", "Yes")
    pool.scripts = [script, script, script]
    told = stream(client)
    assert kinds(told)[2:8] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
    ]
    reasoning = told[-1]["response"]["output"][0]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Let me see"}] and reasoning["summary"] == []
    told = stream(client, reasoning={"summary": "auto", "effort": "high"})
    assert "reasoning_summary_part.added" in kinds(told) and "reasoning_summary_text.done" in kinds(told)
    summarized = told[-1]["response"]["output"][0]
    assert summarized["summary"] == [{"type": "summary_text", "text": "Let me see"}] and "content" not in summarized
    sealed = create(client, include=["reasoning.encrypted_content"], store=False)["output"][0]["encrypted_content"]
    assert "Let me see" not in sealed
    pool.scripts = [says("x")]
    create(
        client,
        input=[{"type": "reasoning", "summary": [], "encrypted_content": sealed}, {"role": "user", "content": "?"}],
    )


def test_logprobs(client: FlaskClient, pool: FakePool) -> None:
    token = TokenLogprob(7, b"Hi", -0.5, [(7, b"Hi", -0.5), (8, "é".encode()[:1], -float("inf"))])
    script = says()
    script.insert(1, Delta("Hi", [token]))
    pool.scripts = [script, script]
    told = stream(client, top_logprobs=2, include=["message.output_text.logprobs"])
    assert pool.sampling.top_logprobs == 2
    part = told[-1]["response"]["output"][0]["content"][0]
    assert part["logprobs"][0]["top_logprobs"][1] == {"token": "�", "logprob": -9999.0, "bytes": [195]}
    assert create(client)["output"][0]["content"][0]["logprobs"] == []


def test_incomplete(client: FlaskClient, pool: FakePool) -> None:
    for reason in (FinishReason.MAX_TOKENS, FinishReason.CONTEXT):
        pool.scripts = [says("a", "b", reason=reason)]
        told = stream(client, max_output_tokens=2)
        response = told[-1]["response"]
        assert told[-1]["type"] == "response.incomplete" and response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert response["output"][0]["status"] == "incomplete" and response["completed_at"] is None
        assert pool.sampling.max_tokens == 2


def test_nothing_said_is_an_empty_message(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says()]
    response = create(client)
    assert text_of(response) == "" and len(response["output"]) == 1


def test_failure_in_the_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [[Started(1), Delta("a"), Unavailable("The worker died.")]]
    told = stream(client)
    assert kinds(told)[-5:] == ["output_text.done", "content_part.done", "output_item.done", "error", "failed"]
    assert told[-2]["message"] == told[-2]["error"]["message"] == "The worker died."
    response = told[-1]["response"]
    assert response["error"] == {
        "code": "server_error",
        "message": "The worker died.",
        "type": "unavailable",
        "param": None,
    }
    assert client.get(f"/v1/responses/{response['id']}").json["status"] == "failed"


def test_failure_before_the_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [[Unavailable("Busy.")], [Unavailable("Busy.")]]
    assert create(client, 503)["error"]["message"] == "Busy."
    assert create(client, 503, stream=True)["error"]["message"] == "Busy."
    assert create(client, 404, model="nope")["error"]["code"] == "model_not_found"


def test_stored_responses(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi")]
    response = create(client)
    id = response["id"]
    assert client.get(f"/v1/responses/{id}").json == response
    assert client.get(f"/responses/{id}").json == response
    assert client.get(f"/v1/responses/{id}?stream=true").json["error"]["param"] == "stream"
    assert "background" in client.post(f"/v1/responses/{id}/cancel").json["error"]["message"]
    assert client.delete(f"/v1/responses/{id}").json == {"id": id, "object": "response", "deleted": True}
    for gone in (client.get(f"/v1/responses/{id}"), client.delete(f"/v1/responses/{id}")):
        assert gone.status_code == 404 and id in gone.json["error"]["message"]
    pool.scripts = [says("Hi")]
    unstored = create(client, store=False)
    assert client.get(f"/v1/responses/{unstored['id']}").status_code == 404


def test_input_items(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("x")]
    said = [{"role": "user", "content": f"message {number}"} for number in range(5)]
    response = create(client, input=said)
    path = f"/v1/responses/{response['id']}/input_items"
    page = client.get(f"{path}?order=asc&limit=2").json
    assert [item["content"][0]["text"] for item in page["data"]] == ["message 0", "message 1"] and page["has_more"]
    rest = client.get(f"{path}?order=asc&after={page['last_id']}").json
    assert len(rest["data"]) == 3 and not rest["has_more"] and rest["data"][-1]["id"] == rest["last_id"]
    assert client.get(path).json["first_id"] == rest["last_id"]
    for wrong in ("limit=0", "limit=x", "limit=" + "1" * 5000, "order=up", "after=msg_none"):
        assert client.get(f"{path}?{wrong}").status_code == 400


def test_chain(client: FlaskClient, pool: FakePool) -> None:
    previous = None
    for number in range(3):
        pool.scripts = [says(f"answer {number}")]
        response = create(
            client, input=f"question {number}", instructions=f"rule {number}", previous_response_id=previous
        )
        assert response["previous_response_id"] == previous
        previous = response["id"]
    texts = [f"{word} {number}" for number in range(3) for word in ("question", "answer")][:-1]
    places = [pool.prompt.text.index(text) for text in texts]
    assert places == sorted(places) and "rule 2" in pool.prompt.text and "rule 1" not in pool.prompt.text
    missing = create(client, 404, previous_response_id="resp_none")["error"]
    assert missing["param"] == "previous_response_id" and "resp_none" in missing["message"]


def test_item_reference(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("the answer"), says("x"), says("x")]
    item = create(client)["output"][0]
    for reference in ({"type": "item_reference", "id": item["id"]}, {"id": item["id"]}):
        create(client, input=[reference, {"role": "user", "content": "again"}])
        assert "assistant\nthe answer" in pool.prompt.text
    missing = create(client, 404, input=[{"type": "item_reference", "id": "msg_none"}])["error"]
    assert missing["param"] == "input[0].id"


def test_truncation(client: FlaskClient, pool: FakePool) -> None:
    said = []
    for number in range(10):
        said += [{"role": "user", "content": f"q{number} " * 50}, {"role": "assistant", "content": f"a{number} " * 50}]
    said += [{"role": "user", "content": "last"}]
    pool.scripts = [[ContextOverflow(200, 100)]]
    refused = create(client, 400, input=said)["error"]
    assert refused["code"] == "context_length_exceeded" and "200" in refused["message"]
    pool.scripts = [[ContextOverflow(200, 100)], says("ok")]
    response = create(client, input=said, truncation="auto", instructions="Rules stay.")
    assert 5 <= response["dropped_turns"] < 10 and response["truncation"] == "auto"
    assert "last" in pool.prompt.text and "Rules stay." in pool.prompt.text and "q0" not in pool.prompt.text
    assert pool.prompt.text.count("<|im_start|>user") == 11 - response["dropped_turns"]
    pool.scripts = [[ContextOverflow(200, 100)]]
    assert create(client, 400, input="one turn", truncation="auto")["error"]["code"] == "context_length_exceeded"
    pool.scripts = [says("ok")]
    assert "dropped_turns" not in create(client, truncation="auto")


def test_input_tokens(client: FlaskClient, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "tokenize"}))
    pool.scripts = [[Tokenized(list(range(42)))]]
    answer = client.post("/v1/responses/input_tokens", json={"model": "tiny", "input": "hello", "tools": [ADD]})
    assert answer.json == {"object": "response.input_tokens", "input_tokens": 42}
    assert not pool.requests, "something was generated to count tokens"


def test_two_forms_are_one_too_many(client: FlaskClient) -> None:
    for other in ("grammar", "guided_regex"):
        refused = create(client, 400, text={"format": {"type": "json_object"}}, **{other: "x"})
        assert refused["error"]["param"] == other


def test_compact(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("It is blue."), says("We spoke of the sky.")]
    first = create(client, input="What colour is the sky?")
    compacted = client.post("/v1/responses/compact", json={"model": "tiny", "previous_response_id": first["id"]}).json
    assert compacted["object"] == "response.compaction" and compacted["usage"]["output_tokens"] == 1
    assert [item["type"] for item in compacted["output"]] == ["message", "compaction"]
    pool.scripts = [says("x")]
    create(client, input=[*compacted["output"], {"role": "user", "content": "Why?"}])
    assert "We spoke of the sky." in pool.prompt.text and "It is blue." not in pool.prompt.text


def test_json_schema(client: FlaskClient, pool: FakePool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "thing", "schema": schema}
    pool.info = type(pool.info)(
        backend="fake", engine_version="1", context_length=4096, capabilities=frozenset({"generate", "constrain"})
    )
    for body in ({"text": {"format": form}}, {"text_format": {"type": "json_schema", "json_schema": form}}):
        pool.scripts = [says('{"a": 1}')]
        response = create(client, **body)
        assert json.loads(pool.sampling.constraint.text) == {**schema, "additionalProperties": False}
        assert response["text"]["format"]["schema"] == schema and response["text"]["format"]["name"] == "thing"


def test_a_store_that_cannot_be_reached_is_named_before_the_model_works(
    settings: dict[str, Any], pool: FakePool
) -> None:
    client = create_app(
        Settings(**{**settings, "database_url": "sqlite:////no/such/folder/x.db"}), pool=pool
    ).test_client()
    for body in ({}, {"stream": True}, {"background": True}):
        assert "LOCALAI_DATABASE_URL" in create(client, 503, **body)["error"]["message"]
    assert pool.requests == []
    pool.scripts = [says("Hi")]
    assert text_of(create(client, store=False)) == "Hi"


def test_a_stored_stream_goes_on(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("<think>", "Hm", "</think>", "Hi"), says("x")]
    told = stream(client)[-1]["response"]
    assert client.get(f"/v1/responses/{told['id']}").json == told
    create(client, previous_response_id=told["id"])
    assert "assistant\nHi" in pool.prompt.text


def test_following_a_run_ends_with_an_error_event_whatever_breaks_it_off(app: Flask) -> None:
    class Broken:
        def events_after(self, id: str, after: int) -> None:
            raise RuntimeError("a bug")

    with app.test_request_context():
        body = follow(Broken(), "resp_1", 4).data  # type: ignore[arg-type]
    event, done = frames(body)
    told = json.loads(event.removeprefix("event: error\ndata: "))
    assert (told["type"], told["sequence_number"], told["code"]) == ("error", 5, "internal_error")
    assert "a bug" not in event and done == "data: [DONE]"


def test_no_websocket(client: FlaskClient) -> None:
    refused = client.get("/v1/responses", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
    assert refused.status_code == 426 and "WebSocket" in refused.json["error"]["message"]
    plain = client.get("/v1/responses")
    assert plain.status_code == 405 and "POST" in plain.headers["Allow"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "compaction", "encrypted_content": "theirs"}]}, "input[0].encrypted_content"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}]}, "tools[0].tools[0].name"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, "input"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"tools": [ADD], "tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"background": True, "store": False}, "background"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "conversation"),
        ({"conversation": {"name": "c"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, "text.format.schema"),
        ({"reasoning": {"summary": "concise"}}, "reasoning.summary"),
        ({"include": ["everything"]}, "include[0]"),
        ({"truncation": "some"}, "truncation"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"n": 2}, "n"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ],
)
def test_refusals_name_the_field(client: FlaskClient, body: dict[str, Any], param: str) -> None:
    error = create(client, 400, **body)["error"]
    assert error["param"] == param and error["type"] == "invalid_request_error"


class TestKeys:
    """What is stored belongs to the key that stored it."""

    @pytest.fixture
    def settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {**settings, "api_key": ("ours", "theirs")}

    def test_another_key_finds_nothing(self, client: FlaskClient, pool: FakePool) -> None:
        ours, theirs = {"Authorization": "Bearer ours"}, {"x-api-key": "theirs"}
        pool.scripts = [says("a"), says("b")]
        message = {"type": "message", "id": "msg_1", "role": "user", "content": "a secret"}
        made = client.post("/v1/responses", json={"input": [message]}, headers=ours).get_json()
        reference = {"input": [{"type": "item_reference", "id": "msg_1"}]}
        previous = {"input": "on", "previous_response_id": made["id"]}
        here = f"/v1/responses/{made['id']}"
        for ask in (
            lambda: client.post("/v1/responses", json=reference, headers=theirs),
            lambda: client.post("/v1/responses", json=previous, headers=theirs),
            lambda: client.post("/v1/responses/compact", json=previous, headers=theirs),
            lambda: client.post("/v1/responses/input_tokens", json=reference, headers=theirs),
            lambda: client.get(here, headers=theirs),
            lambda: client.get(f"{here}/input_items", headers=theirs),
            lambda: client.post(f"{here}/cancel", headers=theirs),
            lambda: client.delete(here, headers=theirs),
        ):
            assert ask().status_code == 404
        assert client.get(here, headers=ours).status_code == 200
        assert client.post("/v1/responses", json=reference, headers=ours).status_code == 200
        assert "a secret" in pool.prompt.text
