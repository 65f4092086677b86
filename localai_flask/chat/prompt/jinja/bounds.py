"""What one rendering of a Jinja template may use: time, characters, entries; and the checks before costly operations.

A template is a program from a stranger. It runs in this process, so whatever one expression could take without end is
estimated before it is evaluated; between expressions the clock is looked at.
"""

from __future__ import annotations

import inspect
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jinja2.exceptions import SecurityError

MAX_RENDERED = 16 * 1024 * 1024
"""Characters that a rendered prompt, or any text on the way to it, may have."""
MAX_MADE = 32 * MAX_RENDERED
"""Characters that all texts made on the way may have together, not counting short ones."""
MAX_ENTRIES = 300_000
"""Entries of one list, or of a value with all that it holds."""
MAX_NUMBER = 100_000
"""The largest number that a function may be called with, for such numbers are widths and counts."""
MAX_DIGITS_BITS = 1024
MAX_SECONDS = 2.0
"""Processor time of one rendering."""

_SHORT = 1024
_STEPS_PER_LOOK = 4
_WIDE_PERCENT = re.compile(r"%[^%a-zA-Z]*(?:\*|[0-9]{6})")
_WIDE_BRACES = re.compile(r"\{[^{}]*(?:\{|:[^{}]*[0-9]{6})")
Container = (list, tuple, dict, set)


class Usage(threading.local):
    """What the rendering in this thread has used."""

    def __init__(self) -> None:
        self.begin({})

    def begin(self, data: Mapping[str, Any]) -> None:
        """Start to count, for a rendering with these data."""
        self.until = time.thread_time() + MAX_SECONDS
        self.made = 0
        self.steps = 0
        self.data = data
        self.foreign: set[int] | None = None

    def end(self) -> None:
        """Forget the data."""
        self.data, self.foreign = {}, None

    def step(self) -> None:
        """Count a step; raises `SecurityError` when the time is over."""
        self.steps += 1
        if self.steps % _STEPS_PER_LOOK == 0 and time.thread_time() > self.until:
            raise SecurityError(f"it takes longer than the allowed {MAX_SECONDS:g} s")

    def make(self, length: int) -> None:
        """Count a text of `length` characters that is about to be made."""
        if length < _SHORT:
            return
        self.made += length
        if length > MAX_RENDERED or self.made > MAX_MADE:
            raise SecurityError("it makes a value that is too large")

    def is_own(self, made: list[Any]) -> bool:
        """Return whether a list was made by the template itself, and is no part of its data."""
        if self.foreign is None:
            self.foreign = set(_lists_in(self.data))
        return id(made) not in self.foreign


usage = Usage()


def _lists_in(value: Any) -> Iterable[int]:
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, list | tuple):
            yield id(value)
            pending += value


class Weight(NamedTuple):
    entries: int
    characters: int


def weigh(value: Any) -> Weight:
    """Count what a value holds, shared parts each time; raises `SecurityError` beyond the bounds."""
    if isinstance(value, str):
        return Weight(1, len(value))
    entries = characters = 0
    pending = [value]
    while pending:
        value = pending.pop()
        entries += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, dict):
            pending += value.keys()
            pending += value.values()
        elif isinstance(value, Container):
            pending += value
        if entries + len(pending) > MAX_ENTRIES or characters > MAX_RENDERED:
            raise SecurityError("it makes a value that is too large")
    return Weight(entries, characters)


def written(value: Any) -> Any:
    """Pass on a value that is about to be written out; raises `SecurityError` if that would be too much."""
    if isinstance(value, Container):
        usage.make(weigh(value).characters)
    return value


def concat(pieces: Iterable[str]) -> str:
    """Join what a block has written."""
    whole = pieces if isinstance(pieces, list) else list(pieces)
    usage.make(sum(map(len, whole)))
    return "".join(whole)


def collected(pieces: Iterable[str]) -> str:
    """Join pieces that are made one by one, and stop to make them when they are too many."""
    made, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > MAX_RENDERED:
            raise SecurityError("it makes a value that is too large")
        made.append(piece)
    usage.make(length)
    return "".join(made)


def checked(result: Any) -> Any:
    """Pass on what an operation has made, unless it is too large to go on with."""
    if isinstance(result, str):
        usage.make(len(result))
    elif isinstance(result, Container) and len(result) > MAX_ENTRIES:
        raise SecurityError("it makes a list that is too long")
    elif isinstance(result, int) and result.bit_length() > MAX_DIGITS_BITS:
        raise SecurityError("it makes a number that is too large")
    return result


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result would be too large."""
    if operator == "**":
        raise SecurityError("chat templates may not use the operator **")
    if operator == "%" and isinstance(left, str):
        check_form(left, right, _WIDE_PERCENT)
    if operator == "+" and isinstance(left, str) and isinstance(right, str):
        usage.make(len(left) + len(right))
    for many, times in ((left, right), (right, left)):
        if operator == "*" and isinstance(many, str | list | tuple) and isinstance(times, int):
            _check_length(len(many) * times, MAX_RENDERED if isinstance(many, str) else MAX_ENTRIES)


def _check_length(length: int, most: int) -> None:
    if length > most:
        raise SecurityError("it makes a value that is too large")


def check_form(form: str, values: Any, wide: re.Pattern[str] = _WIDE_BRACES) -> None:
    """Refuse to write values into a form that asks for great widths, or for widths among the values."""
    if wide.search(form):
        raise SecurityError("it formats to a width that is too large")
    weight = weigh(values)
    holes = form.count("%") + form.count("{") + 1
    usage.make(len(form) + weight.characters * holes)


def check_call(name: str, owner: Any, args: Mapping[str, Any]) -> None:
    """Refuse a call of a text's method, or of a filter, whose result would be too large.

    `args` are named as the filter's own parameters are; those of a method are named as those of its filter.
    """
    if any(isinstance(arg, int) and abs(arg) > MAX_NUMBER for arg in args.values()):
        raise SecurityError(f"it calls {name} with a number that is too large")
    match name:
        case "join":
            values, glue = (args["values"], owner) if "values" in args else (owner, args.get("d", ""))
            entries, characters = weigh(values)
            usage.make(characters + entries * len(str(glue)))
        case "replace":
            text, old, new = str(owner), str(args.get("old", "")), str(args.get("new", ""))
            usage.make(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
        case "format":  # the filter, which is the operator % by another name; the method is checked where it is made
            check_form(str(owner), list(args.values()), _WIDE_PERCENT)
        case "sum":
            if any(isinstance(arg, Container) for arg in args.values()):
                raise SecurityError("it sums what is no number")
        case "indent":
            width = args.get("width", 4)
            usage.make(len(owner) + (owner.count("\n") + 1) * (len(width) if isinstance(width, str) else int(width)))


_CONTEXTS = ("environment", "env", "eval_ctx", "context")
"""What Jinja's filters call an argument that Jinja itself puts before the value."""
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_METHOD_PARAMETERS = {"join": ("values",), "replace": ("old", "new", "count")}


def check_method(name: str, owner: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse a call of a text's method whose result would be too large."""
    names = _METHOD_PARAMETERS.get(name, ())
    if name == "format":
        return
    check_call(name, owner, {**_named(names, args), **kwargs})


def guarded(name: str, code: Callable[..., Any], takes: int) -> Callable[..., Any]:
    """Wrap a filter in the checks; its value is the argument at index `takes`."""
    names = _names_of_options(code)

    def guard(*args: Any, **kwargs: Any) -> Any:
        usage.step()
        value, *given = args[takes:]
        if name not in WALKS and isinstance(value, Container):
            written(value)
        check_call(name, value, {**_named(names, given), **kwargs})
        return checked(code(*args, **kwargs))

    guard.__dict__.update(getattr(code, "__dict__", {}))
    return guard


def _names_of_options(code: Callable[..., Any]) -> list[str]:
    """Return what a filter calls its arguments behind its value."""
    names = [each.name for each in inspect.signature(code).parameters.values() if each.kind not in _VARIADIC]
    return names[2 if names[0] in _CONTEXTS else 1 :]


def _named(names: Sequence[str], args: Sequence[Any]) -> dict[str, Any]:
    return {names[at] if at < len(names) else str(at): arg for at, arg in enumerate(args)}


def guarded_test(name: str, code: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a test in the checks; those that compare walk through both values."""

    def guard(*args: Any, **kwargs: Any) -> Any:
        usage.step()
        if len(args) > 1 and name not in PLAIN_TESTS:
            for arg in args:
                written(arg)
        return code(*args, **kwargs)

    guard.__dict__.update(getattr(code, "__dict__", {}))
    return guard


PLAIN_TESTS = frozenset(("sameas", "divisibleby"))
"""Tests of two values that compare nothing."""

_TAKING = ("batch", "count", "d", "default", "first", "items", "join", "last", "length", "list")
_CHOOSING = ("map", "reject", "rejectattr", "reverse", "select", "selectattr")
WALKS = frozenset((*_TAKING, *_CHOOSING, "slice", "sum"))
"""Filters that look at a list's entries and no deeper."""
