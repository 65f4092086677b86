import json
import socket
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.errors import ContextOverflow, ModelLoadFailed, Unavailable
from localai_flask.generation import Delta, Finished, FinishReason, Started, Timings, TokenLogprob, Usage
from tests.api.fakes import FakePool, chunks, frames, says

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'


def test_whole_answer(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi", " there", prompt_tokens=7, cached=3)]
    response = client.post("/v1/chat/completions", json=HELLO)
    assert response.status_code == 200 and response.mimetype == "application/json"
    body = response.get_json()
    assert body["id"].startswith("chatcmpl-") and body["object"] == "chat.completion" and body["model"] == "tiny"
    assert body["system_fingerprint"].startswith("fp_") and isinstance(body["created"], int)
    (choice,) = body["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi there", "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert body["usage"]["prompt_tokens"] == 7
    assert body["usage"]["completion_tokens"] == 2
    assert body["usage"]["total_tokens"] == 9
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 3
    assert pool.prompt.text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def test_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Hi", " \u00e9\n\U0001f600")]
    response = client.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Accel-Buffering"] == "no"
    events = chunks(response)
    assert [event["choices"][0]["delta"] for event in events] == [
        {"role": "assistant", "content": None},
        {"content": "Hi"},
        {"content": " \u00e9\n\U0001f600"},
        {},
    ]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, None, "stop"]
    assert len({(event["id"], event["created"], event["model"], event["object"]) for event in events}) == 1
    assert events[0]["object"] == "chat.completion.chunk"
    assert not any("usage" in event for event in events)


def test_usage_at_the_end_of_a_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("a", "b", prompt_tokens=7, cached=4), says("c", prompt_tokens=7, cached=7)]
    asked = {**HELLO, "n": 2, "stream": True, "stream_options": {"include_usage": True}}
    *others, last = chunks(client.post("/v1/chat/completions", json=asked))
    assert [event["usage"] for event in others] == [None] * len(others)
    assert last["choices"] == []
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (7, 3)
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 4


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (FinishReason.EOS, "stop"),
        (FinishReason.STOP_SEQUENCE, "stop"),
        (FinishReason.MAX_TOKENS, "length"),
        (FinishReason.CONTEXT, "length"),
    ],
)
@pytest.mark.parametrize("tail", ["", CALL])
def test_finish_reasons(client: FlaskClient, pool: FakePool, reason: FinishReason, word: str, tail: str) -> None:
    pool.scripts = [says("a", tail, reason=reason), says("a", tail, reason=reason)]
    word = "tool_calls" if tail and word == "stop" else word
    asked = {**HELLO, "tools": [WEATHER]}
    whole = client.post("/v1/chat/completions", json=asked).get_json()
    *_, last = chunks(client.post("/v1/chat/completions", json={**asked, "stream": True}))
    assert whole["choices"][0]["finish_reason"] == last["choices"][0]["finish_reason"] == word


def test_choices_have_their_index_and_seed(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("a", "b"), says("c"), says("d")]
    body = client.post("/v1/chat/completions", json={**HELLO, "n": 3, "seed": 40}).get_json()
    assert [(c["index"], c["message"]["content"]) for c in body["choices"]] == [(0, "ab"), (1, "c"), (2, "d")]
    assert [sampling.seed for _, sampling in pool.requests] == [40, 41, 42]
    assert body["usage"]["prompt_tokens"] == 5 and body["usage"]["completion_tokens"] == 4

    pool.scripts = [says("a", "b"), says("c")]
    events = chunks(client.post("/v1/chat/completions", json={**HELLO, "n": 2, "stream": True}))
    said = {0: "", 1: ""}
    for event in events:
        choice = event["choices"][0]
        said[choice["index"]] += choice["delta"].get("content") or ""
    assert said == {0: "ab", 1: "c"}
    assert [e["choices"][0]["index"] for e in events if e["choices"][0]["delta"].get("role")] == [0, 1]
    assert sum(e["choices"][0]["finish_reason"] is not None for e in events) == 2


def test_tool_call(client: FlaskClient, pool: FakePool) -> None:
    script = ["Let me see.\n", CALL, "\n", CALL.replace("Rome", "Oslo")]
    pool.scripts = [says(*script), says(*script)]
    asked = {**HELLO, "tools": [WEATHER], "parallel_tool_calls": True}
    message = client.post("/v1/chat/completions", json=asked).get_json()["choices"][0]["message"]
    assert message["content"] == "Let me see."
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "get_weather", "arguments": f'{{"city": "{city}"}}'} for city in ("Rome", "Oslo")
    ]
    assert len({call["id"] for call in message["tool_calls"]}) == 2

    deltas = [
        e["choices"][0]["delta"] for e in chunks(client.post("/v1/chat/completions", json=asked | {"stream": True}))
    ]
    calls: dict[int, dict] = {}
    for delta in deltas:
        for piece in delta.get("tool_calls", ()):
            if "id" in piece:
                assert piece["index"] not in calls and piece["type"] == "function"
                calls[piece["index"]] = dict(piece["function"])
            else:
                assert "name" not in piece["function"]
                calls[piece["index"]]["arguments"] += piece["function"]["arguments"]
    assert [calls[index] for index in (0, 1)] == [call["function"] for call in message["tool_calls"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Let me see."


def test_a_lone_tool_call_has_no_content(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says(CALL)]
    message = client.post("/v1/chat/completions", json={**HELLO, "tools": [WEATHER]}).get_json()["choices"][0][
        "message"
    ]
    assert message["content"] is None and len(message["tool_calls"]) == 1


def test_tool_choice_none_means_no_tools(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says(CALL)]
    body = client.post("/v1/chat/completions", json={**HELLO, "tools": [WEATHER], "tool_choice": "none"}).get_json()
    assert body["choices"][0]["message"]["content"] == CALL
    assert "get_weather" not in pool.prompt.text


def test_one_call_at_most(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says(CALL.removesuffix("</tool_call>"), reason=FinishReason.STOP_SEQUENCE)]
    body = client.post(
        "/v1/chat/completions", json={**HELLO, "tools": [WEATHER], "parallel_tool_calls": False}
    ).get_json()
    assert pool.sampling.stop == ("</tool_call>",)
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert len(body["choices"][0]["message"]["tool_calls"]) == 1


def test_logprobs(client: FlaskClient, pool: FakePool) -> None:
    euro = "\u20ac".encode()
    script = [
        Started(1),
        Delta("a", [TokenLogprob(1, b"a", -0.5, [(1, b"a", -0.5), (2, b"b", float("-inf"))])]),
        Delta("", [TokenLogprob(2, euro[:1], -1.0)]),
        Delta("\u20ac", [TokenLogprob(3, euro[1:], -2.0)]),
        Finished(FinishReason.EOS, Usage(1, 3)),
    ]
    pool.scripts = [script, list(script)]
    asked = {**HELLO, "logprobs": True, "top_logprobs": 2}
    entries = client.post("/v1/chat/completions", json=asked).get_json()["choices"][0]["logprobs"]["content"]
    assert pool.sampling.top_logprobs == 2
    assert entries[0]["top_logprobs"] == [
        {"token": "a", "logprob": -0.5, "bytes": [97]},
        {"token": "b", "logprob": -9999.0, "bytes": [98]},
    ]
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == "a\u20ac"
    streamed = [e["choices"][0] for e in chunks(client.post("/v1/chat/completions", json=asked | {"stream": True}))]
    assert [entry for choice in streamed for entry in (choice["logprobs"] or {"content": []})["content"]] == entries
    assert all(choice["delta"].get("content") != "" for choice in streamed)


def test_sampling_is_passed_on(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("a")]
    asked = {"temperature": 0, "top_p": 0.5, "top_k": 3, "max_tokens": 9, "max_completion_tokens": 8, "stop": "x"}
    asked |= {"logit_bias": {"7": -100}, "presence_penalty": 1, "ignore_eos": True, "user": "me", "unheard_of": [1]}
    assert client.post("/v1/chat/completions", json={**HELLO, **asked}).status_code == 200
    sampling = pool.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens) == (0, 0.5, 3, 8)
    assert sampling.stop == ("x",) and sampling.logit_bias == {7: -100} and sampling.presence_penalty == 1
    assert sampling.ignore_eos and sampling.top_logprobs is None


def test_early_failure_is_an_http_error_also_of_a_stream(client: FlaskClient, pool: FakePool) -> None:
    for failure, status in ((ContextOverflow(9, 4), 400), (Unavailable("gone"), 503)):
        pool.scripts = [[failure], [failure]]
        for stream in (False, True):
            response = client.post("/v1/chat/completions", json={**HELLO, "stream": stream})
            assert response.status_code == status
            assert response.get_json()["error"]["code"] == failure.info.code
    assert response.headers["Retry-After"] == "1"
    pool.loading = [0.1, ModelLoadFailed("no such tensor")]
    response = client.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert response.status_code == 422 and "no such tensor" in response.get_json()["error"]["message"]


def test_late_failure_goes_into_the_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [[Started(1), Delta("a"), Unavailable("The worker died.")]]
    response = client.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert response.status_code == 200
    *_, error = frames(response.data)
    assert json.loads(error.removeprefix("data: "))["error"]["message"] == "The worker died."
    assert b"[DONE]" not in response.data, "which some clients take for the end of a whole answer"

    pool.scripts = [[Started(1), Delta("a"), Unavailable("The worker died.")]]
    assert client.post("/v1/chat/completions", json=HELLO).status_code == 503


def test_a_bug_ends_the_stream_with_an_error(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [[Started(1), Delta("a"), Finished("no reason", Usage(1, 1))]]  # type: ignore[arg-type]
    response = client.post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert json.loads(frames(response.data)[-1].removeprefix("data: "))["error"]["code"] == "internal_error"


def test_silence_is_filled_with_beats(client: FlaskClient, pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localai_flask.api.answer.sse.PATIENCE_S", 0.0)
    monkeypatch.setattr("localai_flask.api.answer.sse.PING_S", 0.0)
    pool.loading = [None, 0.42]
    pool.scripts = [[None, *says("a", "b")[:2], None, *says("a", "b")[2:]]]
    got = frames(client.post("/v1/chat/completions", json={**HELLO, "stream": True}).data)
    assert got[:3] == [": ping", ": loading 42 %", ": ping"]
    assert got[5] == ": ping" and '"content":"b"' in got[6]


def test_generation_is_closed_when_the_client_stops_reading(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says(*"abcdef")]
    response = client.post("/v1/chat/completions", json={**HELLO, "stream": True}, buffered=False)
    assert b"role" in next(response.response)
    assert pool.open == 1
    response.close()
    assert pool.open == 0


@pytest.mark.parametrize("loading", [[], [0.5]])
def test_work_ends_when_the_client_has_left(client: FlaskClient, pool: FakePool, loading: list[float]) -> None:
    pool.loading, pool.scripts = list(loading), [[Started(1), None, *says("a")]]
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        response = client.post("/v1/chat/completions", json=HELLO, environ_overrides={"gunicorn.socket": ours})
    assert response.status_code == 499 and pool.open == 0
    assert len(pool.requests) == (0 if loading else 1), "a request whose client has left must not be started"


def test_model_that_does_not_generate(client: FlaskClient, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"embed"}))
    response = client.post("/v1/chat/completions", json=HELLO)
    assert response.status_code == 400 and response.get_json()["error"]["param"] == "model"


BEGUN = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Sure, "}]


def test_the_last_message_is_gone_on_with(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("here"), says("x")]
    asked = {"messages": BEGUN, "continue_final_message": True, "add_generation_prompt": False}
    answer = client.post("/v1/chat/completions", json=asked).get_json()
    assert answer["choices"][0]["message"]["content"] == "here"
    assert pool.prompt.text.endswith("<|im_start|>assistant\nSure, ")
    client.post("/v1/chat/completions", json={"messages": BEGUN, "add_generation_prompt": False})
    assert pool.prompt.text.endswith("<|im_start|>assistant\nSure, <|im_end|>\n")


@pytest.mark.parametrize(
    "more",
    [
        {"messages": BEGUN[:1]},
        {"add_generation_prompt": True},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_messages_that_cannot_be_gone_on_with(client: FlaskClient, more: dict[str, Any]) -> None:
    refused = client.post("/v1/chat/completions", json={"messages": BEGUN, "continue_final_message": True, **more})
    assert (refused.status_code, refused.get_json()["error"]["param"]) == (400, "continue_final_message")


def timed(reason: FinishReason = FinishReason.EOS) -> list[Any]:
    timings = Timings(queue_ms=1, prompt_ms=20, decode_ms=50, draft_tokens=4, accepted_tokens=3)
    return [Started(12, 2), Delta("Hi", tokens=5), Finished(reason, Usage(12, 5, 2), timings)]


TIMINGS = {
    "cache_n": 2,
    "prompt_n": 10,
    "prompt_ms": 20.0,
    "prompt_per_token_ms": 2.0,
    "prompt_per_second": 500.0,
    "predicted_n": 5,
    "predicted_ms": 50.0,
    "predicted_per_token_ms": 10.0,
    "predicted_per_second": 100.0,
    "draft_n": 4,
    "draft_n_accepted": 3,
}


@pytest.mark.parametrize(
    ("path", "ask"), [("chat/completions", {"messages": BEGUN[:1]}), ("completions", {"prompt": "hello"})]
)
def test_timings_stand_in_the_answer_and_in_the_last_chunk(
    client: FlaskClient, pool: FakePool, path: str, ask: dict[str, Any]
) -> None:
    pool.scripts = [timed(), timed(), timed()]
    assert client.post(f"/v1/{path}", json=ask).get_json()["timings"] == TIMINGS
    for options in ({}, {"include_usage": True}):
        streamed = chunks(client.post(f"/v1/{path}", json={**ask, "stream": True, "stream_options": options}))
        assert streamed[-1]["timings"] == TIMINGS and not any("timings" in chunk for chunk in streamed[:-1])


def test_timings_of_several_choices_are_those_of_all_together(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [timed(), timed()]
    told = client.post("/v1/chat/completions", json={"messages": BEGUN[:1], "n": 2}).get_json()["timings"]
    assert (told["predicted_n"], told["predicted_ms"], told["predicted_per_second"]) == (10, 50, 200)


def test_the_prompt_is_shown_as_the_model_gets_it(client: FlaskClient, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "tokenize"}))
    told = client.post("/apply-template", json={**HELLO, "tools": [WEATHER]}).get_json()
    pool.scripts = [says("Hi")]
    client.post("/v1/chat/completions", json={**HELLO, "tools": [WEATHER]})
    assert told["prompt"] == pool.prompt.text and told["prompt_tokens"] == len(pool.prompt.text)
    assert client.post("/apply-template", json={"messages": []}).status_code == 400
