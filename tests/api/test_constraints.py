"""Requests that bind an answer's form: what reaches the engine, and which engines they reach."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.generation import Constraint
from tests.api.fakes import CHATML, FakePool, says

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
CLOCK = {"type": "function", "function": {"name": "get_time", "strict": True}}
NAMED = {"type": "function", "function": {"name": "get_time"}}
SCHEMA = {"type": "object", "properties": {"b": {"type": "null"}, "a": {"type": "null"}}, "additionalProperties": False}


@pytest.fixture
def constrained(pool: FakePool) -> FakePool:
    """Its model does not think, so that a form is passed on as it is."""
    able = frozenset({"generate", "constrain"})
    pool.info = msgspec.structs.replace(pool.info, capabilities=able, chat_template=CHATML)
    return pool


def asked(client: FlaskClient, pool: FakePool, path: str = "chat/completions", **change: Any) -> Constraint | None:
    """Send a request and give the constraint that it became."""
    pool.scripts = [says("x")]
    body = HELLO if path == "chat/completions" else {"model": "tiny"}
    # Flask's test client would sort the keys, and their order is part of what is asked.
    data = json.dumps({**body, **change})
    response = client.post(f"/v1/{path}", data=data, content_type="application/json")
    assert response.status_code == 200, response.text
    return pool.sampling.constraint


def test_nothing_asked_is_no_constraint(client: FlaskClient, constrained: FakePool) -> None:
    assert asked(client, constrained) is None
    assert asked(client, constrained, response_format={"type": "text"}) is None
    assert asked(client, constrained, tools=[WEATHER], tool_choice="none") is None


@pytest.mark.parametrize("strict", [{}, {"strict": True}, {"strict": False}, {"strict": None}])
def test_response_format_keeps_the_order_of_properties(client: FlaskClient, constrained: FakePool, strict: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, **strict}}
    constraint = asked(client, constrained, response_format=form)
    assert constraint is not None and constraint.kind == "json_schema"
    assert list(json.loads(constraint.text)["properties"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("path", "body"),
    [("chat/completions", {}), ("completions", {"prompt": "a"}), ("edits", {"instruction": "a", "input": "b"})],
)
def test_grammar(client: FlaskClient, constrained: FakePool, path: str, body: dict[str, Any]) -> None:
    assert asked(client, constrained, path, grammar="root ::= [0-9]", **body) == Constraint(
        "gbnf", "root ::= [0-9]", "grammar"
    )


def test_json_object_in_completions(client: FlaskClient, constrained: FakePool) -> None:
    constraint = asked(client, constrained, "completions", prompt="a", response_format={"type": "json_object"})
    assert constraint is not None and json.loads(constraint.text) == {"type": "object"}


@pytest.mark.parametrize(
    ("choice", "names", "is_lazy"),
    [
        ("auto", ["get_weather", "get_time"], True),
        ("required", ["get_weather", "get_time"], False),
        (NAMED, ["get_time"], False),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}, ["get_time"], True),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}, ["get_time"], False),
    ],
)
def test_tool_choice(client: FlaskClient, constrained: FakePool, choice: Any, names: list[str], is_lazy: bool) -> None:
    constraint = asked(client, constrained, tools=[WEATHER, CLOCK], tool_choice=choice)
    assert constraint is not None
    assert [part.param for part in constraint.parts.values()] == [
        f"tools[{name}].function.parameters" for name in names
    ]
    assert (constraint.trigger == "<tool_call>") is is_lazy
    assert all((name in constrained.prompt.text) is (name in names) for name in ("get_weather", "get_time"))


def test_engines_without_constraints_still_call_tools(client: FlaskClient, pool: FakePool) -> None:
    assert asked(client, pool, tools=[WEATHER]) is None


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize(
    ("fields", "kind", "text", "param"),
    [
        ({"structured_outputs": {"regex": "[0-9]+"}}, "regex", "[0-9]+", "structured_outputs.regex"),
        ({"guided_regex": "[0-9]+"}, "regex", "[0-9]+", "guided_regex"),
        ({"structured_outputs": {"choice": ["a", 'b"']}}, "lark", 'start: "a" | "b\\""', "structured_outputs.choice"),
        ({"guided_choice": ["a"]}, "lark", 'start: "a"', "guided_choice"),
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", json.dumps(SCHEMA), "structured_outputs.json"),
        ({"guided_json": json.dumps(SCHEMA)}, "json_schema", json.dumps(SCHEMA), "guided_json"),
        ({"structured_outputs": {"json_object": True}}, "json_schema", None, "structured_outputs.json_object"),
        ({"structured_outputs": {"grammar": "root ::= [a]"}}, "gbnf", "root ::= [a]", "structured_outputs.grammar"),
        ({"guided_grammar": "root ::= [a]"}, "gbnf", "root ::= [a]", "guided_grammar"),
    ],
)
def test_forms_of_vllms_api(
    client: FlaskClient, constrained: FakePool, path: str, fields: dict[str, Any], kind: str, text: str, param: str
) -> None:
    body = fields if path == "chat/completions" else {"prompt": "a", **fields}
    constraint = asked(client, constrained, path, **body)
    assert constraint is not None and (constraint.kind, constraint.param) == (kind, param)
    assert text is None or constraint.text == text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_regex": "a", "grammar": "root ::= [a]"}, "guided_regex"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "guided_regex"),
    ],
)
def test_forms_that_make_no_sense(
    client: FlaskClient, constrained: FakePool, fields: dict[str, Any], param: str
) -> None:
    response = client.post("/v1/chat/completions", json={**HELLO, **fields})
    assert (response.status_code, response.get_json()["error"]["param"]) == (400, param)
