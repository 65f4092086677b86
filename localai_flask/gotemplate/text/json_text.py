"""JSON as Go's `encoding/json` writes and reads it: sorted keys, characters of HTML escaped."""

from __future__ import annotations

import datetime
import math
import re

import msgspec

from localai_flask.gotemplate.budget import MAX_DEPTH, Budget, Writer
from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.text import numerals
from localai_flask.gotemplate.values import Record, Value, adopt, sorted_items, to_utf8, too_deep

ESCAPED = re.compile('[\x00-\x1f"\\\\\u2028\u2029]')
ESCAPED_FOR_HTML = re.compile('[\x00-\x1f"\\\\\u2028\u2029<>&]')
SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


class Encoder:
    """Writes one value; `indent` is what each level is moved in by (empty: everything on one line)."""

    def __init__(self, budget: Budget, *, html: bool = True, indent: str = ""):
        self.budget, self.indent = budget, indent
        self.escaped = ESCAPED_FOR_HTML if html else ESCAPED
        self.writer = Writer(budget)

    def encode(self, value: Value) -> str:
        """Write the value; raises `Fault` for one that JSON cannot say."""
        self._value(value, 0)
        return self.writer.text()

    def _value(self, value: Value, depth: int) -> None:
        self.budget.spend()
        if isinstance(value, str):
            self.writer.write(self._string(value))
        elif isinstance(value, list):
            self._members([("", item) for item in value], "[]", depth)
        elif isinstance(value, dict):
            self._members([(self._key(key), item) for key, item in sorted_items(value)], "{}", depth)
        elif isinstance(value, Record):
            names = value.json_names
            members = [(self._key(names[name]), item) for name, item in value.fields.items() if name in names]
            self._members(members, "{}", depth)
        else:
            self.writer.write(_scalar(value))

    def _members(self, members: list[tuple[str, Value]], brackets: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise too_deep()
        self.writer.write(brackets[0])
        for index, (key, item) in enumerate(members):
            self.writer.write("," if index else "")
            self._line(depth + 1)
            self.writer.write(key)
            self._value(item, depth + 1)
        if members:
            self._line(depth)
        self.writer.write(brackets[1])

    def _line(self, depth: int) -> None:
        if self.indent:
            self.writer.write("\n" + self.indent * depth)

    def _key(self, key: str) -> str:
        return self._string(key) + (": " if self.indent else ":")

    def _string(self, text: str) -> str:
        self.budget.make(len(text))
        whole = text if text.isascii() else to_utf8(text).decode("utf-8", "replace")
        return '"' + self.escaped.sub(lambda match: _escape(match.group()), whole) + '"'


def _escape(character: str) -> str:
    return SHORT.get(character) or f"\\u{ord(character):04x}"


def _scalar(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Fault(f"JSON has no word for the number {numerals.for_print(value)}")
        return numerals.for_json(value)
    if isinstance(value, datetime.datetime):
        return '"' + value.isoformat().replace("+00:00", "Z") + '"'
    return str(value)


def decode(text: str) -> Value:
    """Read JSON; raises `Fault` if it is none."""
    try:
        return adopt(msgspec.json.decode(to_utf8(text)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Fault(f"fromJson: the text is no JSON: {error}") from error
