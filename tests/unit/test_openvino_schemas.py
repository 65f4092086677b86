"""Which JSON schemas go to openvino-genai: none of which it keeps a part only."""

from __future__ import annotations

import json
import re

import pytest

from localai_flask.backends.openvino.schema_checks import enforceable_schema
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Constraint


def sent(schema, **keys):
    return json.loads(enforceable_schema(Constraint("json_schema", json.dumps(schema), "response_format", **keys)))


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "object"},
        {"type": "integer", "minimum": 3, "exclusiveMaximum": 6, "title": "n", "description": "d"},
        {"type": ["integer", "null"], "minimum": 5},
        {"type": "string", "pattern": "^[a-z]{2,4}-\\d+$"},
        {"type": "string", "format": "date"},
        {"type": "string", "enum": ["a", "b"]},
        {"const": {"a": [1]}},
        {"$ref": "#/$defs/x", "$defs": {"x": {"type": "boolean"}}},
        {"properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False},
        {"type": "array", "prefixItems": [{"type": "null"}], "items": False, "minItems": 1, "maxItems": 1},
        {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"n": {"$ref": "#"}}}]},
        {"allOf": [{"type": "boolean"}]},
    ],
)
def test_what_is_kept_goes_as_it_is(schema):
    assert sent(schema) == schema


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        (False, "`false` in the schema"),
        ({"type": "array", "uniqueItems": True}, "`uniqueItems` in the schema"),
        ({"type": "array", "contains": {}}, "`contains`"),
        ({"type": "number", "minimum": 0}, "`minimum`"),
        ({"type": ["integer", "number"], "minimum": 0}, "bound of numbers"),
        ({"minimum": 0}, "`minimum`"),
        ({"type": "integer", "multipleOf": 7}, "`multipleOf`"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "`not` in the schema.properties.a"),
        ({"type": "object", "minProperties": 1}, "`minProperties`"),
        ({"type": "object", "propertyNames": {}}, "`propertyNames`"),
        ({"type": "object", "properties": {}, "required": ["x"]}, "`required: x`"),
        (
            {"type": "object", "additionalProperties": {"format": "x", "type": "string"}},
            "`format: x` in the schema.add",
        ),
        ({"type": "array", "items": {"type": "string", "format": "ipv4"}}, "`format: ipv4` in the schema.items"),
        ({"type": "string", "pattern": "^.*$"}, "the pattern"),
        ({"type": "string", "pattern": "[^a]"}, "the pattern"),
        ({"type": "string", "pattern": "a", "maxLength": 3}, "`pattern` beside"),
        ({"allOf": [{}, {}]}, "`allOf` of more"),
        ({"oneOf": [{}]}, "`oneOf`"),
        ({"$ref": "#/$defs/x", "minimum": 1, "$defs": {"x": {}}}, "`minimum` beside `$ref`"),
        (
            {"type": "array", "items": {"$ref": "https://example.org/s"}},
            "`$ref` to another document in the schema.items",
        ),
        ({"type": "string", "enum": ["a", 3]}, "`type` beside `enum`"),
        ({"type": "object", "anyOf": [{}]}, "`type` beside `anyOf`"),
        ({"if": {}, "then": {}}, "`if`"),
        ({"type": "frob"}, "`type: frob`"),
    ],
)
def test_what_would_not_be_kept_is_refused_by_name(schema, named):
    with pytest.raises(InvalidRequest, match=r"^`response_format`: ") as refused:
        sent(schema)
    assert named in refused.value.info.message and refused.value.info.param == "response_format"


def test_a_lax_schema_means_its_type():
    assert sent({"type": "array", "uniqueItems": True}, is_lax=True) == {"type": "array"}
    assert sent({"not": {}}, is_lax=True) == {}


def test_a_length_becomes_a_pattern_of_whole_characters():
    (found,) = sent({"type": "array", "items": {"type": "string", "minLength": 2, "maxLength": 3}})["items"].items() - {
        ("type", "string")
    }
    pattern = re.compile(found[1])
    matches = [
        text for text in ("a", "ab", "äöü", "abcd", 'a"', "a\\n", "\\u12aBx", "a\x01", "\\x") if pattern.search(text)
    ]
    assert found[0] == "pattern" and matches == ["ab", "äöü", "a\\n", "\\u12aBx"]
