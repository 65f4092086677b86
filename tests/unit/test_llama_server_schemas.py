"""Which JSON schemas are held to by llama.cpp's own grammars, and which are refused since they would not be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localai_flask.backends.llama_server.schemas import enforced_schema
from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import Constraint


def form(schema: Any, **more: Any) -> Constraint:
    return Constraint("json_schema", json.dumps(schema), "response_format", **more)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"not": {"type": "string", "maxLength": 3}}, "required": ["not"]},
        {"type": "integer", "minimum": 3},
        {"type": "string", "pattern": "^a+$"},
        {"enum": [{"uniqueItems": True}]},
        {"$defs": {"if": {"type": "null"}}, "anyOf": [{"$ref": "#/$defs/if"}], "title": "T", "default": None},
        {"$defs": {"a": {}}, "properties": {"a": {"$ref": "#/$defs/a", "description": "d"}}, "required": ["a"]},
        {"type": ["integer", "null"], "minimum": 0},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 2},
        {"type": "string", "enum": ["a", "b"]},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"enum": [1]}}},
        {"type": "string", "format": "email", "maxLength": 9},
    ],
)
def test_a_schema_that_is_kept_is_sent_as_it_is(schema: Any) -> None:
    assert enforced_schema(form(schema)) == schema


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"properties": {"a": {"not": {"type": "string"}}}}, "not"),
        ({"type": "number", "minimum": 3}, "minimum"),
        ({"anyOf": [{"patternProperties": {}}]}, "patternProperties"),
        ({"$defs": {"a": {"multipleOf": 2}}}, "multipleOf"),
        ({"$defs": {"a": {}}, "$ref": "#/$defs/a", "maxLength": 3}, "maxLength"),
        ({"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"], "properties": {"a": {}}}]}, "type"),
        ({"enum": ["a", "bcd"], "maxLength": 2}, "maxLength"),
        ({"type": "object", "required": ["a"]}, "required"),
        ({"type": "array", "minItems": 2}, "minItems"),
        ({"type": "array", "prefixItems": [{}], "maxItems": 1}, "maxItems"),
        ({"type": "array", "prefixItems": [{"const": 1}], "items": {"type": "string"}}, "prefixItems"),
        ({"type": "string", "pattern": "^a+$", "maxLength": 2}, "maxLength"),
        ({"type": "string", "pattern": "a+"}, "pattern"),
        ({"properties": {"a": {"pattern": "^a+"}}}, "pattern"),
        ({"type": ["string", "null"], "pattern": "a+$"}, "pattern"),
        ({"maxLength": 2}, "maxLength"),
        ({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]}, "allOf"),
        ({"allOf": [{"type": "integer"}]}, "allOf"),
        ({"allOf": [1], "required": 1, "properties": 1}, "allOf"),
    ],
)
def test_a_keyword_that_would_be_passed_over_is_refused(schema: Any, keyword: str) -> None:
    with pytest.raises(UnsupportedParameter, match=f"uses '{keyword}', which llama-server does not enforce") as refusal:
        enforced_schema(form(schema))
    assert refusal.value.info.param == "response_format"


def test_a_lax_schema_that_cannot_be_kept_means_any_json_of_its_type() -> None:
    assert enforced_schema(form({"type": "array", "uniqueItems": True}, is_lax=True)) == {"type": "array"}
