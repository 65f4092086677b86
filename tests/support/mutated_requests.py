"""Requests of every API family, broken at random places: types swapped, fields lost and doubled, bytes flipped.

The same seed makes the same requests. Knows the routes' good bodies, not what is wrong with a bad one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look something up",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "enum": ["a", "b"]}, "n": {"type": "integer", "minimum": 1}},
            "required": ["place"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = TOOL["function"]["parameters"]  # type: ignore[index]
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Where is it?"}]},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"place":"a"}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "There."},
    {"role": "user", "content": "Thanks \u2603"},
]
BLOCKS: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"place": "a"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "x"}], "is_error": False},
            {"type": "text", "text": "go on"},
        ],
    },
]
ITEMS: list[dict[str, Any]] = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
    {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}", "id": "fc_1"},
    {"type": "function_call_output", "call_id": "c1", "output": "x"},
    {"type": "item_reference", "id": "msg_1"},
    {"role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": []}]},
    {"role": "user", "content": "hi"},
]
SAMPLING = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 20,
    "min_p": 0.1,
    "seed": 7,
    "max_tokens": 8,
    "stop": ["\n", "END"],
    "n": 2,
    "logit_bias": {"5": -3.5},
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "repeat_penalty": 1.1,
    "mirostat": 0,
    "dry_multiplier": 0.5,
    "dry_sequence_breakers": ["\n"],
    "user": "u",
}
CHAT = {
    "model": "tiny",
    "messages": TALK,
    **SAMPLING,
    "stream": False,
    "stream_options": {"include_usage": True},
    "logprobs": True,
    "top_logprobs": 2,
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
    "reasoning_effort": "low",
    "metadata": {"a": "b"},
    "grammar": 'root ::= "a"',
    "chat_template_kwargs": {"x": 1},
    "function_call": "auto",
    "functions": [{"name": "f", "parameters": SCHEMA}],
    "guided_choice": ["a", "b"],
    "structured_outputs": {"regex": "a+"},
    "max_completion_tokens": 9,
    "continue_final_message": False,
}
RESPONSE = {
    "model": "tiny",
    "input": ITEMS,
    "instructions": "Be brief.",
    "max_output_tokens": 9,
    "max_tool_calls": 2,
    "metadata": {"a": "b"},
    "parallel_tool_calls": True,
    "previous_response_id": "resp_1",
    "reasoning": {"effort": "low", "summary": "auto"},
    "store": False,
    "stream": False,
    "background": False,
    "temperature": 0.5,
    "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}, "verbosity": "low"},
    "tools": [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}],
    "tool_choice": {"type": "function", "name": "look"},
    "top_p": 0.9,
    "top_logprobs": 2,
    "truncation": "auto",
    "include": ["reasoning.encrypted_content"],
    "safety_identifier": "s",
    "prompt_cache_key": "k",
}
MESSAGE = {
    "model": "tiny",
    "messages": BLOCKS,
    "max_tokens": 9,
    "system": [{"type": "text", "text": "Be brief."}],
    "stop_sequences": ["END"],
    "stream": False,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tools": [{"name": "look", "description": "d", "input_schema": SCHEMA}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "metadata": {"user_id": "u"},
    "output_config": {"effort": "low"},
}
OLLAMA = {
    "model": "tiny",
    "stream": False,
    "format": SCHEMA,
    "options": {"temperature": 0.5, "num_predict": 8, "num_ctx": 99, "seed": 7, "stop": ["END"], "num_gpu": 1},
    "keep_alive": "5m",
    "think": "low",
    "logprobs": True,
    "top_logprobs": 2,
}
OLLAMA_TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is it?", "images": ["aGk="]},
    {
        "role": "assistant",
        "thinking": "hm",
        "tool_calls": [{"function": {"name": "look", "arguments": {"place": "a"}}}],
    },
    {"role": "tool", "tool_name": "look", "content": "There."},
    {"role": "user", "content": "Thanks \u2603"},
]
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/engines/tiny/chat/completions": CHAT,
    "/v1/completions": {
        "model": "tiny",
        "prompt": ["a", "b"],
        **SAMPLING,
        "echo": True,
        "logprobs": 2,
        "best_of": 2,
        "suffix": "x",
    },
    "/v1/edits": {"model": "tiny", "instruction": "mend", "input": "teh", **SAMPLING},
    "/v1/embeddings": {
        "model": "tiny",
        "input": ["a", [1, 2]],
        "dimensions": 4,
        "encoding_format": "float",
        "user": "u",
    },
    "/v1/decisions": {
        "model": "tiny",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}],
        "questions": [
            {"type": "predicate", "instructions": "It is a."},
            {"type": "choice", "instructions": "b?", "choices": [{"value": "a"}, {"value": True}], "name": "n"},
            {"type": "score", "instructions": "c?", "levels": [{"label": "a", "description": "d"}, {"label": "b"}]},
        ],
        "permutations": 2,
    },
    "/v1/systemone": {
        "model": "tiny",
        "state": {"a": ["b"]},
        "questions": {
            "x": {"type": "noul", "instructions": "It is a.", "criteria": {"true": "yes"}},
            "y": {"type": "choice", "instructions": "b?", "criteria": {"a": None, "b": "d"}},
            "z": {"type": "score", "instructions": "c?", "criteria": ["a", "b"]},
        },
    },
    "/v1/moderations": {"model": "tiny", "input": ["a", "b"]},
    "/v1/rerank": {
        "model": "tiny",
        "query": "q",
        "documents": ["a", {"text": "b"}],
        "top_n": 1,
        "return_documents": True,
    },
    "/v1/tokenize": {"model": "tiny", "content": "a", "add_special": True, "with_pieces": True},
    "/v1/detokenize": {"model": "tiny", "tokens": [1, 2]},
    "/v1/messages": MESSAGE,
    "/v1/messages/count_tokens": {key: MESSAGE[key] for key in ("model", "messages", "system", "tools", "thinking")},
    "/v1/responses": RESPONSE,
    "/v1/responses/input_tokens": {key: RESPONSE[key] for key in ("model", "input", "instructions", "tools", "text")},
    "/v1/responses/compact": {key: RESPONSE[key] for key in ("model", "input", "instructions")},
    "/v1/responses/resp_1/cancel": {},
    "/api/chat": {**OLLAMA, "messages": OLLAMA_TALK, "tools": [TOOL], "truncate": True},
    "/api/generate": {**OLLAMA, "prompt": "a", "suffix": "b", "raw": False, "system": "", "context": []},
    "/api/embed": {"model": "tiny", "input": ["a", "b"], "dimensions": 4, "truncate": True, "options": {}},
    "/api/show": {"model": "tiny", "verbose": True},
    "/infill": {
        "model": "tiny",
        "input_prefix": "a",
        "input_suffix": "b",
        "input_extra": [{"filename": "f", "text": "x"}],
        "n_indent": 2,
        "n_predict": 8,
        "response_fields": ["content", "timings/prompt_n"],
    },
}
READING = ("/v1/models", "/v1/models/tiny", "/v1/responses/resp_1", "/v1/responses/resp_1/input_items", "/version", "/")
QUERIES = ("limit", "order", "after", "stream", "starting_after", "model", "include")
NASTY: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, -0.0, 0.5, 1e-320),
    *("", " ", "\x00", "\ud83d\ude00" * 3, "\u202e", "a" * 5000, "{{", "{% for %}", "<|im_end|>", "../../etc/passwd"),
    *("%s%n", "auto", "none", "1", "NaN", "text", "function", "-" * 300, "\r\n", "'\"`", "(" * 200),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"type": None},
        {"$ref": "#"},
        [{}] * 50,
        [[[[[[[[]]]]]]]],
        {"a": {"a": {"a": {}}}},
    ),
]
HEADERS: list[dict[str, str]] = [
    {"Content-Type": "text/plain"},
    {"Content-Type": ""},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Encoding": "gzip"},
    {"Accept": "text/event-stream"},
    {"Authorization": "Bearer tiny"},
    {"Authorization": "Bearer \xff\xfe"},
    {"X-Request-Id": "a" * 500},
    {"Origin": "http://a.example"},
    {"anthropic-version": "x", "anthropic-beta": "y,z"},
]


MOST_PLACES = 200
"""In a larger body nothing is doubled any more: what large bodies cost is measured elsewhere (hostile_bodies.py)."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def make_requests(seed: int, count: int) -> Iterator[Request]:
    """Make that many requests, a tenth of which only read."""
    random = Random(seed)
    for _ in range(count):
        yield _reading(random) if random.random() < 0.1 else _writing(random)


def _reading(random: Random) -> Request:
    path = random.choice(READING)
    if path != "/" and random.random() < 0.3:
        path += random.choice(("/", "/%2fx", "%00", "%ff", "/..%2f..", "?", "a" * 300, "%F0%9F%98%80", ":latest"))
    words = (f"{random.choice(QUERIES)}={_query_value(random)}" for _ in range(random.randrange(4)))
    method = random.choice(("GET", "GET", "GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH"))
    return Request(method, f"{path}{'' if '?' in path else '?'}{'&'.join(words)}")


def _query_value(random: Random) -> str:
    return str(
        random.choice(("-1", "0", "5", "99999999999999999999", "true", "asc", "x", "%00", "%ff", "tiny", "1e3", ""))
    )


def _writing(random: Random) -> Request:
    path = random.choice(list(ROUTES))
    body = copy.deepcopy(ROUTES[path])
    for name in random.sample(list(body), random.randrange(len(body) + 1)):
        if name not in ("messages", "input", "prompt", "content", "max_tokens") or random.random() < 0.1:
            del body[name]  # all options at once are refused for one of them
    if "stream" in body or random.random() < 0.1:
        body["stream"] = random.random() < 0.5
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        _break(random, body)
    data = json.dumps(body).encode()
    if random.random() < 0.15:
        data = _broken_bytes(random, data)
    headers = random.choice(HEADERS) if random.random() < 0.1 else {}
    return Request("POST", path, data, {"Content-Type": "application/json", **headers})


def _break(random: Random, body: dict[str, Any]) -> None:
    """Do one thing to one place of a body."""
    places = list(_places(body))
    if not places:
        body[random.choice(QUERIES)] = copy.deepcopy(random.choice(NASTY))
        return
    parent, key = random.choice(places)
    how = random.randrange(5) if len(places) < MOST_PLACES else 4
    if how == 0 and isinstance(parent, dict):
        del parent[key]
    elif how == 1:
        parent[key] = [parent[key]] * random.choice((1, 2, 100))
    elif how == 2 and isinstance(parent, list):
        parent.extend(copy.deepcopy(parent) * random.choice((1, 30)))
    elif how == 3:
        other, name = random.choice(places)
        parent[key] = copy.deepcopy(other[name])
    else:
        parent[key] = copy.deepcopy(random.choice(NASTY))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Walk over every key and index inside."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def _broken_bytes(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    junk = random.choice(
        (b"", b"\xff", b"\x00", b"\\ud800", b",", b'"', b"[" * 5000, b"1e999", b"NaN", b"\xef\xbb\xbf", b"}")
    )
    return random.choice((data[:at] + junk + data[at + 1 :], data[:at] + junk, junk + data, data + junk))
