import functools
import gzip
import io
import json
import zlib
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.fakes import FakePool, says

JSON = "application/json"
USER = {"role": "user", "content": "hello"}
HELLO = {"messages": [USER]}
TOOL = {"type": "function", "function": {"name": "x"}}
NESTED: dict[str, Any] = {}
for _ in range(60):
    NESTED = {"a": [NESTED]}


def post(client: FlaskClient, body: Any, path: str = "/v1/chat/completions") -> tuple[int, dict[str, Any]]:
    response = client.post(path, json=body)
    assert set(response.get_json()["error"]) == {"message", "type", "param", "code"}
    return response.status_code, response.get_json()["error"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [USER, "hello"]}, "messages[1]"),
        ({"messages": [{"content": "hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": ["text"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ({"model": 3}, "model"),
        ({"n": 0}, "n"),
        ({"n": "2"}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.5}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"seed": 2**64}, "seed"),
        ({"stop": 3}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 1001}, "stop"),
        ({"stop": ["x" * 40_000, "y" * 40_000]}, "stop"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"mirostat": 3}, "mirostat"),
        ({"xtc_probability": 1.5}, "xtc_probability"),
        ({"dry_base": 0.5}, "dry_base"),
        ({"dry_sequence_breakers": ["x"] * 33}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ["x" * 41]}, "dry_sequence_breakers"),
        ({"adaptive_decay": 1}, "adaptive_decay"),
        ({"logit_bias": {"1": "x"}}, "logit_bias.1"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "y"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.allowed_tools"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= [0-9]"}, "grammar"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"chat_template_kwargs": NESTED}, "chat_template_kwargs"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": NESTED}}]},
            "tools[0].function.parameters",
        ),
    ],
)
def test_wrong_field_is_named(client: FlaskClient, change: dict[str, Any], param: str) -> None:
    status, error = post(client, {**HELLO, **change})
    assert (status, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_request")
    assert error["param"] == param
    assert error["message"].startswith(f"`{param}` ") and error["message"].endswith(".")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}},
            "response_format.json_schema.schema",
        ),
        ({"grammar": "root ::= [0-9]"}, "grammar"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {"user_location": {}}}, "web_search_options"),
        ({"functions": [{"name": "x", "strict": True}]}, "functions[0].strict"),
        ({"functions": [{"name": "x"}], "function_call": {"name": "x"}}, "function_call"),
        ({"thinking_budget": 5}, "thinking_budget"),
        ({"backend": "vllm"}, "backend"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        ({"tools": [{"type": "function", "function": {"name": "x", "strict": True}}]}, "tools[0].function.strict"),
    ],
)
def test_known_field_that_cannot_be_honoured_is_refused(client: FlaskClient, change: dict, param: str) -> None:
    status, error = post(client, {**HELLO, **change})
    assert (status, error["code"], error["param"]) == (400, "unsupported_parameter", param)


def test_harmless_fields_are_ignored(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("a")]
    harmless = {
        "user": "x",
        "metadata": {"a": 1},
        "store": False,
        "service_tier": "auto",
        "prediction": {"type": "content", "content": "a"},
        "modalities": ["text"],
        "audio": None,
        "temperature": None,
        "response_format": {"type": "text"},
        "functions": [],
        "tool_choice": "auto",
        "stop": None,
    }
    assert client.post("/v1/chat/completions", json={**HELLO, **harmless}).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"messages": [}', "line 1, column 15"),
        (b'{"messages": [],\n "n": 1,}', "line 2"),
        (b'{"n": NaN}', "NaN"),
        (b'{"n": -Infinity}', "Infinity"),
        (b'{"temperature": 1e999}', "out of range"),
        (b'{"n": ' + b"9" * 5000 + b"}", "too many digits"),
        ('{"n": 1}'.encode("utf-16"), "UTF-16"),
        ('{"n": 1}'.encode("utf-16-be"), "UTF-16"),
        ('{"n": 1}'.encode("utf-32-le"), "UTF-32"),
        (b'{"user": "\xff"}', "byte 10"),
        (b"[1]", "object"),
        (b'"x"', "object"),
        (b"[" * 10_000, "deeply"),
        (b"[" * 100_000, "more than"),
    ],
)
def test_bad_json(client: FlaskClient, body: bytes, said: str) -> None:
    response = client.post("/v1/chat/completions", data=body, content_type="application/json")
    assert response.status_code == 400
    assert said in response.get_json()["error"]["message"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "a/b; charset=x", ";"])
def test_json_is_read_whatever_it_is_said_to_be(client: FlaskClient, pool: FakePool, content_type: str) -> None:
    pool.scripts = [says("hi")]
    response = client.post("/v1/chat/completions", data=json.dumps(HELLO), content_type=content_type)
    assert response.status_code == 200


def test_a_form_is_refused(client: FlaskClient) -> None:
    response = client.post("/v1/chat/completions", data={"model": "tiny"}, content_type="multipart/form-data")
    assert (response.status_code, response.get_json()["error"]["code"]) == (415, "unsupported_media_type")


def test_too_large(client: FlaskClient) -> None:
    response = client.post("/v1/chat/completions", json={**HELLO, "user": "x" * 16 * 2**20})
    assert response.status_code == 413
    assert "15 MB" in response.get_json()["error"]["message"]


PLAIN = json.dumps({"prompt": "x" * 100_000}).encode()
DEFLATED = zlib.compress(PLAIN)
gzipped = functools.partial(gzip.compress, mtime=0)
"""The same bytes each time, which the names of tests are made of."""


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzipped(PLAIN)),
        ("X-GZIP", gzipped(PLAIN[:50]) + gzipped(PLAIN[50:])),
        ("deflate", DEFLATED),
        ("deflate", DEFLATED[2:-4]),
        ("identity", PLAIN),
    ],
)
def test_compressed_bodies_are_read(client: FlaskClient, pool: FakePool, coding: str, body: bytes) -> None:
    pool.scripts = [says("hi")]
    response = client.post("/v1/completions", data=body, headers={"Content-Encoding": coding}, content_type=JSON)
    assert response.status_code == 200
    assert pool.prompt.text == "x" * 100_000


@pytest.mark.parametrize(
    ("coding", "body", "status", "said"),
    [
        ("br", b"{}", 415, "gzip or deflate"),
        ("gzip, gzip", gzipped(gzipped(PLAIN)), 415, "gzip or deflate"),
        ("gzip", PLAIN, 400, "`Content-Encoding: gzip`"),
        ("gzip", gzipped(PLAIN)[:-9], 400, "its end is missing"),
        ("gzip", gzipped(b"") * 2000, 400, "follows"),
        ("deflate", DEFLATED + b"x", 400, "follows"),
        ("gzip", gzipped(b" " * (15 * 2**20 + 1)), 413, "15 MB"),
        ("gzip", gzipped(b" " * 2**20) * 16, 413, "15 MB"),
        ("deflate", zlib.compress(b" " * 2**27), 413, "15 MB"),
    ],
)
def test_what_does_not_come_out_of_a_body_is_told(
    client: FlaskClient, coding: str, body: bytes, status: int, said: str
) -> None:
    response = client.post("/v1/completions", data=body, headers={"Content-Encoding": coding}, content_type=JSON)
    assert (response.status_code, response.headers.get("Accept-Encoding")) == (
        status,
        "gzip, deflate" if status == 415 else None,
    )
    assert said in response.get_json()["error"]["message"]


def test_a_whole_number_may_be_written_with_a_point(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("a"), says("a")]
    body = {**HELLO, "max_tokens": 5.0, "top_k": 3.0, "n": 2.0}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert (pool.sampling.max_tokens, pool.sampling.top_k) == (5, 3)
    for number in (5.5, 1e300, float("1e19")):
        status, error = post(client, {**HELLO, "max_tokens": number})
        assert (status, error["param"]) == (400, "max_tokens")


def test_half_of_a_surrogate_pair_is_replaced(client: FlaskClient, pool: FakePool) -> None:
    for sent, read in (
        (rb"\ud83d", "\ufffd"),
        (rb"a\ude00\ud83d\ude00\ud83d.", "a\ufffd\U0001f600\ufffd."),
        (rb"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (rb"\\\\ud83d\ude00", "\\\\ud83d\ufffd"),
    ):
        pool.scripts = [says("hi")]
        body = b'{"prompt":"' + sent + b'"}'
        assert client.post("/v1/completions", data=body, content_type=JSON).status_code == 200
        assert pool.prompt.text == read


def test_a_name_that_is_there_twice_counts_as_it_is_last(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("hi")]
    assert client.post("/v1/completions", data=b'\xef\xbb\xbf{"prompt":"a","prompt":"b"}').status_code == 200
    assert pool.prompt.text == "b"


def test_too_large_without_a_length(client: FlaskClient) -> None:
    whole = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    for size, status in ((16 * 2**20, 413), (1000, 400), (0, 400)):
        stream = io.BytesIO(b" " * (size - 1) + b"x" if size else b"")
        response = client.post("/v1/completions", input_stream=stream, environ_overrides=whole)
        assert response.status_code == status


def test_wrong_method_and_unknown_path(client: FlaskClient) -> None:
    response = client.get("/v1/chat/completions")
    assert response.status_code == 405 and sorted(response.headers["Allow"].split(", ")) == ["OPTIONS", "POST"]
    assert response.get_json()["error"]["code"] == "method_not_allowed"
    response = client.delete("/v1/models/tiny")
    assert response.status_code == 405 and "GET" in response.headers["Allow"]
    response = client.post("/v2/nothing")
    assert response.status_code == 404 and "POST /v2/nothing" in response.get_json()["error"]["message"]


def test_request_id(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    made = client.get("/nothing", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"]
    assert made and made != client.get("/healthz").headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO["messages"], "stream_options": {"include_usage": True}}),
        (
            "/v1/chat/completions",
            {"messages": HELLO["messages"], "service_tier": "flex", "prompt_cache_retention": "24h"},
        ),
        ("/v1/responses", {"input": "Hi", "text": {"verbosity": "low"}, "service_tier": "priority"}),
        ("/v1/responses", {"input": "Hi", "stream_options": {"include_obfuscation": False}}),
    ],
)
def test_hints_do_not_cost_the_request(client: FlaskClient, pool: FakePool, path: str, body: dict[str, Any]) -> None:
    pool.scripts = [says("Hello")]
    assert client.post(path, json=body).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO["messages"]}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/messages", {"messages": HELLO["messages"], "max_tokens": 5}),
        ("/v1/responses", {"input": "Hi"}),
    ],
)
def test_fields_of_other_servers_reach_the_engine_or_are_refused_by_name(
    client: FlaskClient, pool: FakePool, path: str, body: dict[str, Any]
) -> None:
    pool.scripts = [says("Hello")]
    foreign = {"repetition_penalty": 1.3, "options": {"num_keep": 4, "top_k": 7}, "banned_tokens": ["x"]}
    assert client.post(path, json={**body, **foreign}).status_code == 200
    assert (pool.sampling.repeat_penalty, pool.sampling.top_k, pool.sampling.banned_strings) == (1.3, 7, ("x",))
    response = client.post(path, json={**body, "options": {"tfs_z": 0.5}})
    assert response.status_code == 400
    assert "`options.tfs_z` is a way to sample that no engine here has." in response.text
