"""What stands for an image or a document in a message's text, until it is known what comes in its place.

The marks are noncharacters around a key, which templates pass on like any other text, and which nobody writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

OPEN, CLOSE = "\ufdd1", "\ufdd2"
MARK = re.compile(rf"(?:{OPEN}|\\ufdd1)([0-9a-f]{{32}})(?:{CLOSE}|\\ufdd2)")
"""A mark, also as JSON may write it."""
LOOSE = re.compile(f"[{OPEN}{CLOSE}]")
_WRITTEN = re.compile(f"{OPEN}([0-9a-f]{{32}}){CLOSE}")


def mark_of(key: str) -> str:
    return f"{OPEN}{key}{CLOSE}"


def keys_in(text: str) -> list[str]:
    """List the keys of the marks in a text, in their order."""
    return MARK.findall(text) if OPEN in text else []


def replace_marks(text: str, put: Callable[[str], str | None]) -> str:
    """Put what `put` returns for its key in the place of each mark; None leaves the mark."""

    def chosen(found: re.Match[str]) -> str:
        text = put(found[1])
        return found[0] if text is None else text

    return _WRITTEN.sub(chosen, text) if OPEN in text else text


def without_marks(text: str) -> str:
    """Take out of a foreign text what could be taken for a mark."""
    return LOOSE.sub("", text)
