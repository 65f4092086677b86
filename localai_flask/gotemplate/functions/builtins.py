"""The functions of Go's `text/template` itself. (`and` and `or` are evaluated where their arguments are.)"""

from __future__ import annotations

import datetime
import urllib.parse
from collections.abc import Callable
from typing import Any

from localai_flask.gotemplate.budget import Budget
from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.text.printf import sprintf
from localai_flask.gotemplate.text.printing import sprint, to_text
from localai_flask.gotemplate.values import Value, from_utf8, to_utf8, truth, type_name

HTML = {'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"}
JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
COMPARABLE = (bool, int, float, str, datetime.datetime)


def and_(first: Any, *others: Any) -> Value:
    return next((value for value in (first, *others) if not truth(value)), (first, *others)[-1])


def or_(first: Any, *others: Any) -> Value:
    return next((value for value in (first, *others) if truth(value)), (first, *others)[-1])


def not_(value: Any) -> bool:
    return not truth(value)


def eq(first: Any, second: Any, *others: Any) -> bool:
    return any(_same(first, other) for other in (second, *others))


def ne(left: Any, right: Any) -> bool:
    return not _same(left, right)


def _same(left: Value, right: Value) -> bool:
    if left is None or right is None:
        return left is right
    if type(left) is not type(right):
        raise Fault(f"values of types {type_name(left)} and {type_name(right)} cannot be compared")
    if not isinstance(left, COMPARABLE):
        raise Fault(f"values of type {type_name(left)} cannot be compared; `deepEqual` can")
    return bool(left == right)


def lt(left: Any, right: Any) -> bool:
    if type(left) is not type(right) or type(left) not in (int, float, str):
        raise Fault(f"values of types {type_name(left)} and {type_name(right)} have no order")
    if isinstance(left, str):
        return to_utf8(left) < to_utf8(right)
    return bool(left < right)


def le(left: Any, right: Any) -> bool:
    return lt(left, right) or _same(left, right)


def gt(left: Any, right: Any) -> bool:
    return not le(left, right)


def ge(left: Any, right: Any) -> bool:
    return not lt(left, right)


def len_(value: Any) -> int:
    if isinstance(value, str):
        return len(to_utf8(value))
    if isinstance(value, list | dict):
        return len(value)
    raise Fault(f"len: a value of type {type_name(value)} has no length")


def index(value: Any, *keys: Any) -> Value:
    for key in keys:
        value = _item(value, key)
    return value


def _item(value: Value, key: Value) -> Value:
    if isinstance(value, dict):
        if not isinstance(key, str):
            raise Fault(f"index: a map's key must be a string, not {type_name(key)}")
        return value.get(key)
    if not isinstance(value, list | str):
        raise Fault(f"index: a value of type {type_name(value)} has no items")
    items = to_utf8(value) if isinstance(value, str) else value
    return items[_position(key, len(items) - 1, "index")]


def _position(key: Value, highest: int, where: str) -> int:
    if type(key) is not int:
        raise Fault(f"{where}: a position must be an integer, not {type_name(key)}")
    if not 0 <= key <= highest:
        raise Fault(f"{where}: the position {key} is out of range")
    return key


def slice_(budget: Budget, value: Any, *positions: Any) -> Value:
    """Cut a string as Go does, or a list as sprig does, where an empty one gives nil."""
    if not isinstance(value, str | list):
        raise Fault(f"slice: a value of type {type_name(value)} cannot be cut")
    if len(positions) > 2:
        raise Fault("slice takes at most 3 arguments")
    if value == []:
        return None
    items = to_utf8(value) if isinstance(value, str) else value
    end = _position(positions[1], len(items), "slice") if len(positions) > 1 else len(items)
    start = _position(positions[0], end, "slice") if positions else 0
    if isinstance(items, bytes):
        return from_utf8(items[start:end])
    budget.spend(end - start)
    return items[start:end]


def print_(budget: Budget, *values: Any) -> str:
    return sprint(budget, values)


def println(budget: Budget, *values: Any) -> str:
    spaced = [part for value in values for part in (" ", to_text(budget, value))][1:]
    return sprint(budget, [*spaced, "\n"])


def printf(budget: Budget, template: str, *values: Any) -> str:
    return sprintf(budget, template, values)


def html(budget: Budget, *values: Any) -> str:
    return "".join(HTML.get(character, character) for character in _joined(budget, values))


def js(budget: Budget, *values: Any) -> str:
    return "".join(_js(character) for character in _joined(budget, values))


def _js(character: str) -> str:
    if character in JS:
        return JS[character]
    return character if character.isprintable() else f"\\u{ord(character):04X}"


def urlquery(budget: Budget, *values: Any) -> str:
    return urllib.parse.quote_plus(to_utf8(_joined(budget, values)))


def _joined(budget: Budget, values: tuple[Value, ...]) -> str:
    text = sprint(budget, ["<no value>" if value is None else value for value in values])
    budget.make(len(text))
    return text


TABLE: dict[str, Callable[..., Value]] = {
    "and": and_,
    "or": or_,
    "not": not_,
    "eq": eq,
    "ne": ne,
    "lt": lt,
    "le": le,
    "gt": gt,
    "ge": ge,
    "len": len_,
    "index": index,
    "slice": slice_,
    "mustSlice": slice_,
    "print": print_,
    "println": println,
    "printf": printf,
    "html": html,
    "js": js,
    "urlquery": urlquery,
}
