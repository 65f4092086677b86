from typing import Any

import pytest

from localai_flask.chat.constraints.strict_schemas import closed

POINT: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}}
CLOSED = {**POINT, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (POINT, CLOSED),
        ({"type": "array", "items": POINT}, {"type": "array", "items": CLOSED}),
        ({"anyOf": [POINT, {"type": "null"}]}, {"anyOf": [CLOSED, {"type": "null"}]}),
        ({"$ref": "#/$defs/p", "$defs": {"p": POINT}}, {"$ref": "#/$defs/p", "$defs": {"p": CLOSED}}),
        ({"properties": {"properties": POINT}}, {"properties": {"properties": CLOSED}, "additionalProperties": False}),
    ],
)
def test_listed_properties_are_all(schema: Any, expected: Any) -> None:
    assert closed(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"type": "object"},
        {**POINT, "additionalProperties": {"type": "string"}},
        {**POINT, "additionalProperties": True},
        {**POINT, "anyOf": [{"required": ["x"]}]},
        {"allOf": [POINT, {"properties": {"y": {}}}]},
        {"properties": {"a": {"oneOf": [POINT, {"properties": {"y": {}}}]}}},
        {"enum": [{"properties": {}}]},
    ],
)
def test_what_says_more_stays_as_it_is(schema: Any) -> None:
    assert closed(schema) == schema
