"""What stands for an image or a document in a message's text, until it is known what comes in its place: its key."""

from __future__ import annotations

import re
from collections.abc import Callable

from localai_flask.generation import MARK_CLOSING, MARK_OPENING

MARK = re.compile(rf"(?:{MARK_OPENING}|\\ufdd1)([0-9a-f]{{32}})(?:{MARK_CLOSING}|\\ufdd2)")
"""A mark, also as JSON may write it."""
LOOSE = re.compile(f"[{MARK_OPENING}{MARK_CLOSING}]")
_WRITTEN = re.compile(f"{MARK_OPENING}([0-9a-f]{{32}}){MARK_CLOSING}")


def mark_of(key: str) -> str:
    return f"{MARK_OPENING}{key}{MARK_CLOSING}"


def keys_in(text: str) -> list[str]:
    """List the keys of the marks in a text, in their order."""
    return MARK.findall(text) if MARK_OPENING in text else []


def replace_marks(text: str, put: Callable[[str], str | None]) -> str:
    """Put what `put` returns for its key in the place of each mark; None leaves the mark."""

    def chosen(found: re.Match[str]) -> str:
        text = put(found[1])
        return found[0] if text is None else text

    return _WRITTEN.sub(chosen, text) if MARK_OPENING in text else text


def without_marks(text: str) -> str:
    """Take out of a foreign text what could be taken for a mark."""
    return LOOSE.sub("", text)
