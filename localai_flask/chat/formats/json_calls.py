"""JSON inside of a model's text, read as it comes: values, and the objects that stand for calls.

Arguments are kept as the model wrote them, but control characters in strings, which JSON forbids, are escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import msgspec
import regex

from localai_flask.chat.formats.base import Begun, Body, CutOff, Ended, Functions, NotACall, Read, Said, Step, Steps

NAME_KEYS = ("name", "tool_name", "function")
ARGUMENT_KEYS = ("arguments", "parameters", "args")


class Keys(NamedTuple):
    """The keys under which objects have a call's name and its arguments."""

    names: tuple[str, ...] = NAME_KEYS
    arguments: tuple[str, ...] = ARGUMENT_KEYS


KEYS = Keys()
OTHER_KEYS = ("type", "id", "tool_call_id", "index")
FAULTS = (msgspec.DecodeError, UnicodeError, RecursionError)

_PLAIN = re.compile(r'[^"{}\[\]]+')
_IN_STRING = re.compile(r'[^"\\\x00-\x1f]+')
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_QUOTE = regex.compile(r'\s*(?=")')
_KIND = regex.compile(r'\s*(?=([{"]|null\s*[,}]))')
_BRACE, _COLON, _COMMA, _CLOSER = (regex.compile(rf"\s*{char}") for char in (r"\{", ":", ",", r"\}"))
_SCALAR = regex.compile(r"\s*[^\s,}\]{\[\"]+(?=[\s,}\]])")
_NESTED = regex.compile(r"\s*(?=[{\[])")

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode

Text = Generator[None, None, str]


def object_text(text: str) -> str | None:
    """Return the JSON text of an object of arguments; None if it is no object."""
    text = text.strip()
    try:
        if text in ("", "null"):  # some models write this where a function takes none
            return "{}"
        _decode_object(text)
    except FAULTS:
        return None
    return text


def is_json(text: str) -> bool:
    """Return whether a text is one JSON value."""
    try:
        msgspec.json.decode(text)
    except FAULTS:
        return False
    return True


class _Scanner:
    """Where a JSON text stands: in how many brackets, and whether in a string."""

    def __init__(self, deepest: float) -> None:
        self.depth, self.in_string, self.is_escaped = 0, False, False
        self._deepest = deepest

    def scan(self, text: str, at: int) -> tuple[str, int, bool]:
        """Return the text of the value from `at` on, how far it reaches, and whether it ends there."""
        pieces = []
        while at < len(text):
            found = (_IN_STRING if self.in_string else _PLAIN).match(text, at)
            if found is not None and not self.is_escaped:
                pieces.append(found.group())
                at = found.end()
                continue
            char, at = text[at], at + 1
            pieces.append(self._step(char))
            if self.depth == 0 and not self.in_string:
                return "".join(pieces), at, True
        return "".join(pieces), at, False

    def _step(self, char: str) -> str:
        if self.in_string:
            if self.is_escaped:
                self.is_escaped = False
            elif char == "\\":
                self.is_escaped = True
            elif char == '"':
                self.in_string = False
            elif char < " ":
                return _ESCAPES.get(char) or f"\\u{ord(char):04x}"
        elif char == '"':
            self.in_string = True
        else:
            self.depth += 1 if char in "{[" else -1
            if self.depth > self._deepest:
                raise NotACall
        return char


DEEPEST = 64
"""Brackets of a value that is passed over. Where an object turns out to be no call, each one within it is tried next,
so that deeper ones could take time in proportion to the square of the text."""


def value(body: Body, deepest: float = math.inf) -> Steps:
    """Emit the object, list or string that begins here, as it comes; raise `NotACall` if it is too deep."""
    scanner = _Scanner(deepest)
    while True:
        text, body.at, is_end = scanner.scan(body.text, body.at)
        if text:
            yield Said(text)
        if is_end:
            return
        if body.is_whole:
            raise CutOff
        yield None


def object_value(body: Body) -> Steps:
    """Emit the object that begins here, as it comes; raise `CutOff` at its end if it was no JSON all the same."""
    said = []
    for step in value(body):
        if isinstance(step, Said):
            said.append(step.text)
        yield step
    if not is_json("".join(said)):
        raise CutOff


def collected(steps: Steps) -> Text:
    """Yield all that the steps say as one text."""
    said = []
    for step in steps:
        if isinstance(step, Said):
            said.append(step.text)
        elif step is None:
            yield None
    return "".join(said)


def string(body: Body) -> Text:
    """Take a string; raise `NotACall` if there is none."""
    if not (yield from body.match(_QUOTE)):
        raise NotACall
    try:
        return _decode_text((yield from collected(value(body))))
    except FAULTS:
        raise NotACall from None


def arguments(body: Body, begun: Iterator[Step]) -> Steps:
    """Emit a call's arguments, `begun` first; raise `NotACall` if they are no object.

    Some models write null where a function takes none, or a string that holds the JSON.
    """
    kind = yield from body.match(_KIND)
    if kind is None:
        raise NotACall
    if kind[1] == "{":
        yield from begun
        yield from object_value(body)
        return
    text: str | None = "{}"
    if kind[1] == '"':
        text = object_text((yield from string(body)))
    else:
        body.at += len("null")
    if text is None:
        raise NotACall
    yield from begun
    yield Said(text)


def call_object(body: Body, functions: Functions, must_exist: bool, keys: Keys = KEYS) -> Steps:
    """Emit the call that an object with a name and arguments stands for, whichever comes first."""
    name, held, is_told, is_first = "", "{}", False, True
    if not (yield from body.match(_BRACE)):
        raise NotACall
    while is_first or (yield from body.match(_COMMA)):
        is_first = False
        key = yield from string(body)
        if not (yield from body.match(_COLON)) or (must_exist and not _is_key(key, keys)):
            raise NotACall
        if key in keys.names and not name:
            name = yield from string(body)
            if not name or (must_exist and name not in functions):
                raise NotACall
        elif key in keys.arguments and name and not is_told:
            is_told = True
            yield from arguments(body, iter([Begun(name)]))
            yield Ended()
        elif key in keys.arguments and not is_told:
            held = yield from collected(arguments(body, iter(())))
        else:
            yield from _skip(body)
    if not name or not (yield from body.match(_CLOSER)):
        raise NotACall
    if not is_told:
        yield from whole(name, held)


def _is_key(key: str, keys: Keys) -> bool:
    return key in keys.names or key in keys.arguments or key in OTHER_KEYS


def _skip(body: Body) -> Text:
    if (yield from body.match(_QUOTE)) or (yield from body.match(_NESTED)):
        return (yield from collected(value(body, DEEPEST)))
    if not (yield from body.match(_SCALAR)):
        raise NotACall
    return ""


def named_value(body: Body, name: str) -> Steps:
    """Emit a call whose arguments are the object that begins here."""
    yield Begun(name)
    yield from object_value(body)
    yield Ended()


def whole(name: str, text: str) -> Iterator[Step]:
    yield Begun(name)
    yield Said(text)
    yield Ended()


_LIST = regex.compile(r"\s*\[(?=\s*\{)")
_NEXT = regex.compile(r"\s*[,;]?\s*(?=\{)")


def calls(closing: str = "", *, must_exist: bool = False, keys: Keys = KEYS) -> Read:
    """Read an object, or several, or a list of them; whatever brackets are too many before `closing` are dropped."""
    end = regex.compile(r"[\s}\]]*" + regex.escape(closing)) if closing else regex.compile(r"\s*\]")

    def read(body: Body, functions: Functions) -> Steps:
        is_list = yield from body.match(_LIST)
        yield from call_object(body, functions, must_exist, keys)
        while (yield from body.match(_NEXT)):
            yield from call_object(body, functions, must_exist, keys)
        if closing or is_list:
            yield from body.match(end)

    return read


def encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
