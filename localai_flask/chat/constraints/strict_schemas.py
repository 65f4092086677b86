"""JSON Schemas in which objects have the properties that are written down, and no others.

A schema leaves objects open unless it says otherwise, but nobody who writes down the properties wants a model to invent
more. Objects stay open where closing one could contradict another part of the schema.
"""

from __future__ import annotations

from typing import Any

ENTANGLED = frozenset(
    (
        *("allOf", "oneOf", "not", "if", "dependentSchemas", "dependentRequired", "dependencies"),
        *("unevaluatedProperties", "patternProperties", "$dynamicRef"),
    )
)
"""Keywords by which one part of a schema speaks about the objects of another."""
OPEN = frozenset(("additionalProperties", "anyOf", "$ref"))
SCHEMAS_BY_NAME = frozenset(("properties", "$defs", "definitions"))
LITERAL = frozenset(("enum", "const", "default", "examples", "x-guidance"))


def closed(schema: Any) -> Any:
    """Close every object of a schema that lists properties and does not speak of others."""
    return schema if _is_entangled(schema) else _closed(schema)


def _is_entangled(node: Any) -> bool:
    if isinstance(node, list):
        return any(map(_is_entangled, node))
    if not isinstance(node, dict):
        return False
    inner = (value for key, value in node.items() if key not in LITERAL)
    return not ENTANGLED.isdisjoint(node) or any(map(_is_entangled, inner))


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    inner = {key: _closed_below(key, value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and OPEN.isdisjoint(node):
        inner["additionalProperties"] = False
    return inner


def _closed_below(key: str, value: Any) -> Any:
    if key in LITERAL:
        return value
    if key in SCHEMAS_BY_NAME and isinstance(value, dict):
        return {name: _closed(each) for name, each in value.items()}
    return _closed(value)
