"""An object out of JSON text that may have been cut anywhere, as a call's arguments are when the tokens run out."""

from __future__ import annotations

import re
from typing import Any

import msgspec

CLOSERS = {"{": "}", "[": "]"}
TRIES = 8
_STEP = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]"]', re.DOTALL)
_CUT_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\(u[0-9a-fA-F]{0,3})?$")
_BREAK = re.compile(r"[,{\[]")


def is_object(text: str) -> bool:
    """Return whether a text is a whole object."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def completed(text: str) -> dict[str, Any]:
    """Read an object; of one that was cut, all that is certain. What is no object at all comes under the key "raw"."""
    for part in _shorter(text):
        try:
            value = msgspec.json.decode(part)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
        return value if isinstance(value, dict) else {"raw": text}
    return {"raw": text} if text.strip() else {}


def _shorter(text: str) -> list[str]:
    """Return the text as it is, closed where it ends, and closed before each of its last members."""
    breaks = [found.start() for found in _BREAK.finditer(text)][-TRIES:]
    ends = [at if text[at] == "," else at + 1 for at in reversed(breaks)]
    return [text, *(_closed(text[:end]) for end in [len(text), *ends])]


def _closed(text: str) -> str:
    """Close all strings, lists and objects that are open at the end of a text."""
    stack: list[str] = []
    for step in _STEP.finditer(text):
        found = step.group()
        if found in CLOSERS:
            stack.append(CLOSERS[found])
        elif found == '"':
            text = _CUT_ESCAPE.sub(r"\1", text) + '"'
            break
        elif found in "}]" and stack:
            stack.pop()
    return text + "".join(reversed(stack))
