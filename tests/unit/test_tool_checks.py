"""Which tools and schemas are refused before anything is made of them."""

from __future__ import annotations

import pytest

from localai_flask.chat.constraints.call_grammar import json_form
from localai_flask.chat.constraints.tool_checks import check_tools, find_fault
from localai_flask.chat.conversation import Tool
from localai_flask.errors import InvalidRequest

FAULTS = [
    ({"required": True}, "required must be a list of names"),
    ({"properties": ["a"]}, "properties must be an object of schemas"),
    ({"properties": {"a": 3}}, "properties.a must be an object"),
    ({"properties": {"a": {"type": [{}]}}}, "properties.a.type must be one of"),
    ({"type": "text"}, "type must be one of"),
    ({"type": []}, "type must be one of"),
    ({"enum": 5}, "enum must be a list"),
    ({"items": "string"}, "items must be an object"),
    ({"anyOf": []}, "anyOf must be a list of schemas"),
    ({"oneOf": {"type": "null"}}, "oneOf must be a list of schemas"),
    ({"allOf": [{}, {"not": []}]}, "allOf.1.not must be an object"),
    ({"$defs": {"x": {"items": {"required": [1]}}}}, "$defs.x.items.required must be a list of names"),
    ({"additionalProperties": "no"}, "additionalProperties must be an object"),
    ({"$ref": 3}, "$ref must be a reference"),
    ([], "it must be an object"),
]


@pytest.mark.parametrize(("schema", "said"), FAULTS, ids=lambda value: str(value)[:40])
def test_what_is_no_schema_is_refused_with_its_place(schema: object, said: str) -> None:
    assert said in find_fault(schema)
    with pytest.raises(InvalidRequest, match="is no JSON Schema") as error:
        json_form(schema, "format")
    assert error.value.info.param == "format" and said in error.value.info.message
    if isinstance(schema, dict):
        with pytest.raises(InvalidRequest, match="tool 'f' are no JSON Schema"):
            check_tools([Tool(name="f", parameters=schema)])


def test_what_is_a_schema_passes() -> None:
    inner = {"type": ["string", "null"], "enum": ["a", 3], "properties": {"enum": {"type": "string"}}}
    whole = {"type": "object", "properties": {"required": inner, "b": True}, "required": ["b"], "items": [inner, {}]}
    more = {"additionalProperties": False, "anyOf": [inner], "const": {"type": 5}, "default": {"required": 3}}
    assert find_fault({**whole, **more, "x-own": {"type": 5}}) == ""
    check_tools([Tool(name="a"), Tool(name="b", parameters={})])


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="named 'a'"):
        check_tools([Tool(name="a"), Tool(name="a")])


def test_a_deep_schema_costs_no_recursion() -> None:
    schema: dict = {}
    for _ in range(20_000):
        schema = {"items": schema}
    assert find_fault(schema) == ""
