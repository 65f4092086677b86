"""JSON inside of a model's text: where a value ends, and the calls that objects stand for.

Arguments are kept as the model wrote them; only their form is checked.
"""

from __future__ import annotations

import re

import msgspec

from localai_flask.chat.formats.base import CallSyntax, Found, ParsedCall, Refused, Verdict

NAME_KEYS = ("name", "tool_name", "function")
ARGUMENT_KEYS = ("arguments", "parameters", "args")
FAULTS = (msgspec.DecodeError, UnicodeError, RecursionError)

_WHOLE_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STEP = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]"]', re.DOTALL)

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_text = msgspec.json.Decoder(str).decode


def value_end(text: str, start: int) -> int | None:
    """Give where the object or list that begins at `start` ends; None if it does not end in this text."""
    depth = 0
    for step in _STEP.finditer(text, start):
        match step.group():
            case "{" | "[":
                depth += 1
            case "}" | "]":
                depth -= 1
                if depth == 0:
                    return step.end()
            case '"':  # a string that has no end yet
                return None
    return None


def is_inside_string(text: str) -> bool:
    """Tell whether a JSON text so far ends within a string."""
    return '"' in _WHOLE_STRING.sub("", text)


def object_text(text: str) -> str | None:
    """Give the JSON text of an object of arguments, unwrapped if a string holds it; None if it is no object."""
    text = text.strip()
    try:
        if text.startswith('"'):  # some models write the arguments as a string that holds the JSON
            text = _decode_text(text).strip()
        if text in ("", "null"):  # some models write this where a function takes none
            return "{}"
        _decode_object(text)
    except FAULTS:
        return None
    return text


def read_call(fields: dict[str, msgspec.Raw]) -> ParsedCall | None:
    """Read an object with a name and arguments."""
    name = next((fields[key] for key in NAME_KEYS if key in fields), None)
    if name is None:
        return None
    try:
        called = _decode_text(name)
    except FAULTS:
        return None
    raw = next((bytes(fields[key]).decode() for key in ARGUMENT_KEYS if key in fields), "{}")
    arguments = object_text(raw)
    return ParsedCall(called, arguments) if called and arguments is not None else None


def read_calls(text: str) -> list[ParsedCall] | None:
    """Read an object, or a list of at least one, each with a name and arguments."""
    text = text.strip()
    try:
        objects = _decode_list(text) if text.startswith("[") else [_decode_object(text)]
    except FAULTS:
        return None
    calls = [call for each in objects if (call := read_call(each)) is not None]
    return calls if calls and len(calls) == len(objects) else None


def starts_json(body: str) -> bool:
    return body.lstrip()[:1] in ("", "{", "[")


def unclosed(opening: str) -> CallSyntax:
    """Make the syntax of a marker behind which a JSON value stands that ends by itself."""

    def scan(body: str, seen: int) -> Verdict:
        if not starts_json(body):
            return Refused()
        if not has_closer(body, seen):
            return None
        end = value_end(body, 0)
        if end is None:
            return None
        calls = read_calls(body[:end])
        return Refused() if calls is None else Found(calls, end)

    return CallSyntax(opening, scan, read_calls)


def has_closer(body: str, seen: int) -> bool:
    """Tell whether a value can have ended since the last look; it saves most of the looking."""
    return body.find("}", seen) >= 0 or body.find("]", seen) >= 0
