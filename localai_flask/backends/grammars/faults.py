"""What a compiler of grammars reports, in words; and where in a JSON Schema an error lies that it gives no place."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

SINGLE = ("items", "additionalProperties", "additionalItems", "not", "if", "then", "else", "contains", "propertyNames")
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
TABLES = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
SHARED = ("$defs", "definitions", "$schema", "$id")
UNKNOWN_KEY = re.compile(r'Unimplemented keys: \["([^"]+)"')
OPPOSITE = {
    "exclusiveMinimum": ("maximum", "exclusiveMaximum"),
    "exclusiveMaximum": ("minimum", "exclusiveMinimum"),
}
_PLACE = re.compile(r"^(?:at )?(\d+)\((\d+)\): ")
LONGEST_MESSAGE = 400
"""Messages repeat the regular expression that they are about."""
MOST_PROBES = 64
"""How many schemas are compiled at most; the engine waits meanwhile."""


def locate(schema: dict[str, Any], message: str, explain: Callable[[dict[str, Any]], str]) -> str:
    """Return the path of the deepest schema, and the keyword in it if one alone is to blame, that has the same error.

    `explain` compiles a schema and gives its error, "" for none.
    """
    if unknown := UNKNOWN_KEY.search(message):
        paths = (path for path, part in _walk("$", schema) if unknown[1] in part)
        return f"{next(paths, '$')}.{unknown[1]}"
    shared = {key: schema[key] for key in SHARED if key in schema}
    probes = iter(range(MOST_PROBES))

    def is_same(part: dict[str, Any]) -> bool:
        return next(probes, None) is not None and explain({**shared, **part}) == message

    path, found = "$", schema
    while inner := next(((step, part) for step, part in _children(found) if is_same(part)), None):
        path, found = path + inner[0], inner[1]
    for key in found:
        rest = {other: value for other, value in found.items() if other != key}
        if key not in SHARED and next(probes, None) is not None and explain({**shared, **rest}) != message:
            return f"{path}.{key}"
    return path


def unkept(schema: dict[str, Any]) -> str | None:
    """Return the path of a keyword that the compiler accepts and does not keep; None if there is none.

    llguidance 1.9.1 lets numbers reach an exclusive bound if the opposite bound is less than 1 away; the bounds that
    `allOf` and its like bring together may stand in different places, so all are compared with all.
    """
    nodes = [(path, part) for path, part in _walk("$", schema) if part.get("type") != "integer"]
    for exclusive, opposites in OPPOSITE.items():
        others = sorted(part[key] for _, part in nodes for key in opposites if _is_number(part.get(key)))
        for path, part in nodes:
            bound = part.get(exclusive)
            if not _is_number(bound):
                continue
            place = bisect_left(others, bound)
            if any(abs(other - bound) < 1 for other in others[max(place - 1, 0) : place + 1]):
                return f"{path}.{exclusive}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _walk(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for step, part in _children(schema):
        yield from _walk(path + step, part)


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the schemas directly inside one, each with its step of the path."""
    for key, value in schema.items():
        if key in SINGLE and isinstance(value, dict):
            yield f".{key}", value
        elif key in LISTS and isinstance(value, list):
            yield from ((f".{key}[{index}]", part) for index, part in enumerate(value) if isinstance(part, dict))
        elif key in TABLES and isinstance(value, dict):
            yield from ((f".{key}.{name}", part) for name, part in value.items() if isinstance(part, dict))


def in_a_line(message: str) -> str:
    """Return a compiler's message in one line, with the place that it begins with in words."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    # An error in a regular expression comes with a drawing, and the reason at its end.
    reason = [line for line in lines if line.startswith("error: ")][:1]
    said = ": ".join(line.rstrip(".:") for line in lines[:1] + reason)
    said = _PLACE.sub(r"line \1, column \2: ", said)
    return said if len(said) <= LONGEST_MESSAGE else said[:LONGEST_MESSAGE] + "…"
