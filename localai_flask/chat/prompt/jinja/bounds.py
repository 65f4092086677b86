"""What one rendering of a Jinja template may use: time, characters, entries; and the checks before costly operations.

A template is a program from a stranger. It runs in this process, so whatever one expression could take without end is
estimated before it is evaluated; between expressions the clock is looked at.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
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
        """Count a text of so many characters that is about to be made."""
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


def check_call(name: str, owner: Any, args: tuple[Any, ...]) -> None:
    """Refuse a call of a text's method, or of a filter on a text, whose result would be too large."""
    if any(isinstance(arg, int) and abs(arg) > MAX_NUMBER for arg in args):
        raise SecurityError(f"it calls {name} with a number that is too large")
    match name:
        case "join":
            entries, characters = weigh(args[0] if args and isinstance(owner, str) else owner)
            glue = owner if isinstance(owner, str) and args else next(iter(args), "")
            usage.make(characters + entries * (len(glue) if isinstance(glue, str) else 0))
        case "replace" if isinstance(owner, str) and len(args) >= 2 and all(isinstance(a, str) for a in args[:2]):
            usage.make(len(owner) + owner.count(args[0]) * len(args[1]))
        case "format" if isinstance(owner, str):  # the filter, which is the operator % by another name
            check_form(owner, list(args), _WIDE_PERCENT)
        case "sum" if any(isinstance(arg, Container) for arg in args):
            raise SecurityError("it sums what is no number")
        case "indent" if isinstance(owner, str):
            width = args[0] if args else 4
            usage.make(len(owner) + owner.count("\n") * (len(width) if isinstance(width, str) else int(width)))
        case "wordwrap" if isinstance(owner, str):
            usage.make(len(owner) * (1 + sum(len(arg) for arg in args if isinstance(arg, str))))


def guarded(name: str, code: Callable[..., Any], takes: int) -> Callable[..., Any]:
    """Wrap a filter in the checks; its value is the argument at index `takes`."""

    def guard(*args: Any, **kwargs: Any) -> Any:
        usage.step()
        value = args[takes] if len(args) > takes else None
        if name not in WALKS and isinstance(value, Container):
            written(value)
        check_call(name, value, (*args[takes + 1 :], *kwargs.values()))
        return checked(code(*args, **kwargs))

    guard.__dict__.update(getattr(code, "__dict__", {}))
    return guard


_TAKING = ("attr", "batch", "count", "d", "default", "first", "items", "join", "last", "length", "list", "random")
_CHOOSING = ("dictsort", "groupby", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr")
WALKS = frozenset((*_TAKING, *_CHOOSING, "slice", "sum"))
"""Filters that look at a list's entries and no deeper."""
