"""Values as text, as Go's `fmt` prints them with `%v`."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from localai_flask.gotemplate.budget import MAX_DEPTH, Budget, Writer
from localai_flask.gotemplate.text import numerals
from localai_flask.gotemplate.values import Record, Value, sorted_items, too_deep

BRACKETS: dict[type, tuple[str, str]] = {list: ("[", "]"), dict: ("map[", "]"), Record: ("{", "}")}
SHORT_ESCAPES = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", "\\": r"\\",
}  # fmt: skip


def to_text(budget: Budget, value: Value, *, field_names: bool = False) -> str:
    """Print a value; `field_names` shows those of structs, as `%+v` does."""
    if type(value) is str:
        return value
    writer = Writer(budget)
    _write(budget, writer, value, field_names, 0)
    text = writer.text()
    budget.make(len(text))  # one value in a list may be there many times, and is written anew each time
    return text


def scalar_text(value: Value) -> str | None:
    """Print a value that holds no others; None for one that does."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return numerals.for_print(value)
    if isinstance(value, datetime.datetime):
        return time_text(value)
    return str(value) if isinstance(value, int) else None


def time_text(value: datetime.datetime) -> str:
    fraction = f".{value.microsecond:06d}".rstrip("0") if value.microsecond else ""
    return f"{value:%Y-%m-%d %H:%M:%S}{fraction} {value:%z} {value:%Z}"


def _write(budget: Budget, writer: Writer, value: Value, field_names: bool, depth: int) -> None:
    budget.spend()
    text = scalar_text(value)
    if text is not None:
        writer.write(text)
        return
    if depth > MAX_DEPTH:
        raise too_deep()
    parts = _parts(value, field_names)
    opening, closing = BRACKETS[type(value)]
    writer.write(opening)
    for index, (label, item) in enumerate(parts):
        writer.write(" " + label if index else label)
        _write(budget, writer, item, field_names, depth + 1)
    writer.write(closing)


def _parts(value: Value, field_names: bool) -> Sequence[tuple[str, Value]]:
    """What a list, map or struct holds, each with what is printed before it."""
    if isinstance(value, list):
        return [("", item) for item in value]
    if isinstance(value, Record):
        return [(f"{name}:" if field_names else "", item) for name, item in value.fields.items()]
    return [(f"{key}:", item) for key, item in sorted_items(value)]


def sprint(budget: Budget, values: Sequence[Value]) -> str:
    """Print values after one another, with a space between two that are no strings."""
    writer = Writer(budget)
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            writer.write(" ")
        writer.write(to_text(budget, value))
    return writer.text()


def quoted(text: str, quote: str = '"', ascii_only: bool = False) -> str:
    """Quote text as Go's `strconv.Quote` does."""
    pieces = [quote]
    for character in text:
        code = ord(character)
        if character == quote:
            pieces.append("\\" + character)
        elif character in SHORT_ESCAPES:
            pieces.append(SHORT_ESCAPES[character])
        elif 0xDC80 <= code <= 0xDCFF:
            pieces.append(f"\\x{code - 0xDC00:02x}")
        elif character.isprintable() and (code < 0x80 or not ascii_only):
            pieces.append(character)
        else:
            pieces.append(_code_escape(code))
    return "".join([*pieces, quote])


def _code_escape(code: int) -> str:
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
