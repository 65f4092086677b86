"""Tools in OpenAI's dialect: legacy functions, calls that were cut, messages that do not belong together, budgets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.errors import ContextOverflow
from localai_flask.generation import Delta, Finished, FinishReason, Started, Usage
from tests.api.fakes import FakePool, chunks, says

USER = {"role": "user", "content": "hello"}
ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALL = ("<tool_call>", '{"name": "add", ', '"arguments": {"a"', ": 1}", "}", "</tool_call>")


def ask(client: FlaskClient, **fields: Any) -> Any:
    return client.post("/v1/chat/completions", json={"messages": [USER], **fields})


def test_legacy_functions(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Ok ", *CALL), says("Ok ", *CALL)]
    choice = ask(client, functions=[ADD], function_call="auto").get_json()["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["content"] == "Ok"
    assert choice["message"]["function_call"] == {"name": "add", "arguments": '{"a": 1}'}
    assert "tool_calls" not in choice["message"]
    events = [chunk["choices"][0] for chunk in chunks(ask(client, functions=[ADD], stream=True))]
    calls = [event["delta"]["function_call"] for event in events if "function_call" in event["delta"]]
    assert calls[0] == {"name": "add", "arguments": ""}
    assert "".join(call["arguments"] for call in calls) == '{"a": 1}'
    assert events[-1]["finish_reason"] == "function_call"


def test_a_legacy_result_follows_its_call(client: FlaskClient, pool: FakePool) -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": '{"a": 1}'}}
    result = {"role": "function", "name": "add", "content": "2"}
    pool.scripts = [says("Two.")]
    answer = ask(client, messages=[USER, call, result], functions=[ADD])
    assert answer.status_code == 200, answer.get_json()
    assert "2" in pool.requests[0][0].text
    error = ask(client, messages=[USER, call, {**result, "name": "sub"}], functions=[ADD]).get_json()["error"]
    assert error["param"] == "messages[2].name"


def test_arguments_stream_as_they_come(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says(*CALL)]
    events = [
        chunk["choices"][0] for chunk in chunks(ask(client, tools=[{"type": "function", "function": ADD}], stream=True))
    ]
    deltas = [event["delta"]["tool_calls"][0] for event in events if "tool_calls" in event["delta"]]
    assert [delta["function"].get("name") for delta in deltas] == ["add", None, None]
    assert [delta["function"]["arguments"] for delta in deltas] == ["", '{"a"', ": 1}"]
    assert events[-1]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("reason", [FinishReason.MAX_TOKENS, FinishReason.CONTEXT])
def test_a_call_that_was_cut(client: FlaskClient, pool: FakePool, reason: FinishReason) -> None:
    """The whole answer shows what the stream showed, and `length` wins."""
    tools = [{"type": "function", "function": ADD}]
    pool.scripts = [says(*CALL[:3], reason=reason), says(*CALL[:3], reason=reason)]
    choice = ask(client, tools=tools).get_json()["choices"][0]
    assert choice["finish_reason"] == "length" and choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a"'}
    events = [chunk["choices"][0] for chunk in chunks(ask(client, tools=tools, stream=True))]
    assert events[-1]["finish_reason"] == "length"
    assert not any(event["delta"].get("content") for event in events)


RESULT = {"role": "tool", "tool_call_id": "c1", "content": "2"}
TWICE_CALLED = {
    "role": "assistant",
    "tool_calls": [{"id": id, "type": "function", "function": {"name": "add"}} for id in ("c1", "c2")],
}
CALLED = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add"}}]}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([USER, RESULT], "messages[1].tool_call_id"),
        ([USER, CALLED, {**RESULT, "tool_call_id": "c2"}], "messages[2].tool_call_id"),
        ([USER, CALLED, RESULT, USER, RESULT], "messages[4].tool_call_id"),
        ([USER, TWICE_CALLED, RESULT], "messages[1].tool_calls"),
        ([USER, CALLED], "messages[1].tool_calls"),
    ],
)
def test_messages_that_do_not_belong_together(client: FlaskClient, messages: list[dict], param: str) -> None:
    answer = ask(client, messages=messages)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, param)


def test_calls_with_their_results(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Two.")]
    assert ask(client, messages=[USER, CALLED, RESULT, USER]).status_code == 200


def test_reasoning_tokens_are_counted(client: FlaskClient, pool: FakePool) -> None:
    pieces = ("<think>", "Hm", "</think>", "Hi")
    deltas = [Delta(piece, tokens=1) for piece in pieces]
    pool.scripts = [[Started(5), *deltas, Finished(FinishReason.EOS, Usage(5, 5))]]
    usage = ask(client).get_json()["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3


@pytest.mark.parametrize("field", ["thinking_budget", "reasoning_budget"])
def test_a_budget_reaches_the_engine(client: FlaskClient, pool: FakePool, field: str) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "constrain", "end_thinking"}))
    pool.scripts = [says("a"), says("a")]
    ask(client, **{field: 9})
    budget = pool.requests[0][1].thinking
    assert budget is not None and (budget.tokens, budget.start, budget.is_open) == (9, "<think>", False)
    assert "</think>" in budget.end
    ask(client, **{field: -1})
    assert pool.requests[1][1].thinking is None


def test_a_conversation_that_is_too_long_is_blamed_on_its_messages(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [[ContextOverflow(9, 8)]]
    error = ask(client).get_json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
