"""The values that templates work with, and how Go would see them.

Inside a template there are only None, bool, int (64 bits), float, str, list, dict with string keys, `Record` and aware
`datetime`; `adopt` copies a caller's data into these, so that no template can reach or change anything else. Strings
stand for Go's byte strings: what is no UTF-8 is kept as lone surrogates, as `surrogateescape` does.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from localai_flask.gotemplate.budget import MAX_DEPTH, Budget
from localai_flask.gotemplate.errors import Fault

Value = Any
"""One of the types above."""

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A struct: fields in their order, and the names under which JSON shows them (absent: not shown)."""

    type_name: str
    fields: dict[str, Value]
    json_names: dict[str, str]


def adopt(value: object, depth: int = 0) -> Value:
    """Copy data into template values; raises `Fault` naming a type that templates do not know."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, datetime.datetime):
        return _with_zone(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value) if INT64_MIN <= value <= INT64_MAX else _as_float(value)
    if isinstance(value, float):
        return float(value)
    if depth >= MAX_DEPTH:
        raise Fault(f"the data are nested more than the allowed {MAX_DEPTH} deep")
    if isinstance(value, list | tuple):
        return [adopt(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {_key(key): adopt(item, depth + 1) for key, item in value.items()}
    return _record(value, depth + 1)


def _with_zone(value: datetime.datetime) -> datetime.datetime:
    try:
        return value.astimezone()
    except OverflowError:
        raise Fault("the data hold a date beyond the years 1 to 9999") from None


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise Fault(f"the data hold a map whose key is {type(key).__name__}; keys must be strings")
    return str(key)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Fault("the data hold an integer that is too large") from None


def _record(value: object, depth: int) -> Record:
    names = {}
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(type(value)):
            omitted = value.__struct_config__.omit_defaults and getattr(value, field.name) == field.default
            names[field.name] = "" if omitted else field.encode_name
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = {field.name: field.name for field in dataclasses.fields(value)}
    else:
        raise Fault(f"the data hold a value of type {type(value).__name__}, which templates do not know")
    fields = {name: adopt(getattr(value, name), depth) for name in names}
    return Record(type(value).__name__, fields, {name: json for name, json in names.items() if json})


def truth(value: Value) -> bool:
    """Return whether `if` takes the value for true: what is zero or empty is false."""
    return isinstance(value, Record | datetime.datetime) or bool(value)


KINDS: dict[type, str] = {
    type(None): "invalid",
    bool: "bool",
    int: "int",
    float: "float64",
    str: "string",
    list: "slice",
    dict: "map",
    Record: "struct",
    datetime.datetime: "struct",
}
TYPES = {"invalid": "<nil>", "slice": "[]interface {}", "map": "map[string]interface {}"}


def kind_name(value: Value) -> str:
    """Name the value's kind as Go's `reflect` does."""
    return KINDS[type(value)]


def type_name(value: Value) -> str:
    """Name the value's type as Go's `%T` does."""
    if isinstance(value, Record):
        return value.type_name
    if isinstance(value, datetime.datetime):
        return "time.Time"
    return TYPES.get(kind_name(value), kind_name(value))


def to_utf8(text: str) -> bytes:
    """Encode text, with escaped bytes as themselves."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def from_utf8(data: bytes) -> str:
    """Decode bytes, keeping what is no UTF-8 as it is."""
    return data.decode("utf-8", "surrogateescape")


def wrap64(value: int) -> int:
    """Cut an integer to 64 bits, as Go's arithmetic does."""
    return (value - INT64_MIN) % 2**64 + INT64_MIN


def sorted_items(mapping: dict[str, Value]) -> Iterator[tuple[str, Value]]:
    """Walk a map in the order of its keys, as Go prints, ranges over and marshals maps."""
    for key in sorted(mapping):
        yield key, mapping[key]


def equal(budget: Budget, left: Value, right: Value, depth: int = 0) -> bool:
    """Compare two values with all that they hold, as Go's `reflect.DeepEqual` does."""
    budget.spend()
    if type(left) is not type(right) or depth > MAX_DEPTH:
        return False
    if isinstance(left, Record):
        return left.type_name == right.type_name and equal(budget, left.fields, right.fields, depth + 1)
    if isinstance(left, list):
        pairs = zip(left, right, strict=False)
        return len(left) == len(right) and all(equal(budget, *pair, depth + 1) for pair in pairs)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(budget, left[key], right[key], depth + 1) for key in left)
    if isinstance(left, str):
        budget.make(min(len(left), len(right)))
    return bool(left == right)


def copied(budget: Budget, value: Value, depth: int = 0) -> Value:
    """Copy a value with all that it holds."""
    budget.spend()
    if depth > MAX_DEPTH:
        raise too_deep()
    if isinstance(value, list):
        return [copied(budget, item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: copied(budget, item, depth + 1) for key, item in value.items()}
    return value


def too_deep() -> Fault:
    return Fault(f"a value is nested more than the allowed {MAX_DEPTH} deep")


def is_whole(value: float) -> bool:
    return math.isfinite(value) and value == int(value)
