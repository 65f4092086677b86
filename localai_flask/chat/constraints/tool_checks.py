"""Checks of the tools that a client sends, the same for every API family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from localai_flask.chat.conversation import Tool
from localai_flask.errors import InvalidRequest

TYPES = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))


def check_tools(tools: Sequence[Tool]) -> None:
    """Raise `InvalidRequest` if two tools have one name, or parameters are no JSON Schema."""
    names: set[str] = set()
    for tool in tools:
        if tool.name in names:
            raise InvalidRequest(f"Two tools are named {tool.name!r}; give each a name of its own.", param="tools")
        names.add(tool.name)
        if tool.parameters is not None and (fault := find_fault(tool.parameters)):
            raise InvalidRequest(f"The parameters of tool {tool.name!r} are no JSON Schema: {fault}.", param="tools")


def find_fault(schema: Any) -> str:
    """Return what makes a value no JSON Schema, and where; "" if it is one.

    The keywords are those by which prompts and answers are made; the form of all others is the engine's to judge.
    Source: https://json-schema.org/draft/2020-12/schema
    """
    pending = [("", schema)]
    while pending:
        path, node = pending.pop()
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            return f"{path or 'it'} must be an object"
        for key, value in node.items():
            if key in _RULES and (fault := _RULES[key](value)):
                return f"{_below(path, key)} {fault}"
            pending += ((_below(path, key, name), each) for name, each in _schemas_below(key, value))
    return ""


def _below(path: str, *names: str) -> str:
    return ".".join(filter(None, (path, *names)))


def _schemas_below(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if key in _BY_NAME:
        yield from value.items()
    elif key in _LISTED or (key == "items" and isinstance(value, list)):
        yield from ((str(at), each) for at, each in enumerate(value))
    elif key in _SINGLE:
        yield "", value


def _type_fault(value: Any) -> str:
    kinds = value if isinstance(value, list) else [value]
    known = kinds and all(isinstance(kind, str) and kind in TYPES for kind in kinds)
    return "" if known else f"must be one of {', '.join(sorted(TYPES))}, or a list of them"


def _expect(kind: type, what: str) -> Callable[[Any], str]:
    return lambda value: "" if isinstance(value, kind) else f"must be {what}"


def _names_fault(value: Any) -> str:
    is_names = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return "" if is_names else "must be a list of names"


def _alternatives_fault(value: Any) -> str:
    return "" if isinstance(value, list) and value else "must be a list of schemas, and not empty"


_BY_NAME = ("$defs", "definitions", "patternProperties", "properties")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_RULES: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(_BY_NAME, _expect(dict, "an object of schemas")),
    **dict.fromkeys(_LISTED, _alternatives_fault),
    "$ref": _expect(str, "a reference"),
    "description": _expect(str, "a text"),
    "enum": _expect(list, "a list of values"),
    "pattern": _expect(str, "a regular expression"),
    "required": _names_fault,
    "type": _type_fault,
}
