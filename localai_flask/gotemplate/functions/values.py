"""sprig's functions on values of any kind: defaults, choices, types, JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localai_flask.gotemplate.budget import Budget
from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.text import json_text
from localai_flask.gotemplate.values import Value, equal, kind_name, truth, type_name


def default(fallback: Any, *given: Any) -> Value:
    return given[0] if given and truth(given[0]) else fallback


def empty(value: Any) -> bool:
    return not truth(value)


def coalesce(*values: Any) -> Value:
    return next((value for value in values if truth(value)), None)


def all_(*values: Any) -> bool:
    return all(map(truth, values))


def any_(*values: Any) -> bool:
    return any(map(truth, values))


def ternary(when_true: Any, when_false: Any, condition: bool) -> Value:
    return when_true if condition else when_false


def type_of(value: Any) -> str:
    return type_name(value)


def type_is(name: str, value: Any) -> bool:
    return type_name(value) == name


def kind_of(value: Any) -> str:
    return kind_name(value)


def kind_is(name: str, value: Any) -> bool:
    return kind_name(value) == name


def deep_equal(budget: Budget, left: Any, right: Any) -> bool:
    return equal(budget, left, right)


def to_json(budget: Budget, value: Any) -> str:
    return json_text.Encoder(budget).encode(value)


def to_pretty_json(budget: Budget, value: Any) -> str:
    return json_text.Encoder(budget, indent="  ").encode(value)


def to_raw_json(budget: Budget, value: Any) -> str:
    return json_text.Encoder(budget, html=False).encode(value)


def from_json(text: str) -> Value:
    """Read JSON as sprig does: what is none is nil; `mustFromJson` fails on it."""
    try:
        return json_text.decode(text)
    except Fault:
        return None


def must_from_json(text: str) -> Value:
    return json_text.decode(text)


TABLE: dict[str, Callable[..., Value]] = {
    "default": default,
    "empty": empty,
    "coalesce": coalesce,
    "all": all_,
    "any": any_,
    "ternary": ternary,
    "typeOf": type_of,
    "typeIs": type_is,
    "typeIsLike": type_is,
    "kindOf": kind_of,
    "kindIs": kind_is,
    "deepEqual": deep_equal,
    "toJson": to_json,
    "mustToJson": to_json,
    "toPrettyJson": to_pretty_json,
    "mustToPrettyJson": to_pretty_json,
    "toRawJson": to_raw_json,
    "mustToRawJson": to_raw_json,
    "fromJson": from_json,
    "mustFromJson": must_from_json,
}
