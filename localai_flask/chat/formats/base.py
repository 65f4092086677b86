"""What a tool-call syntax has to say of itself so that a stream of text can be read with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class ParsedCall(NamedTuple):
    """A call as it stood in the text; `arguments` is the JSON text of an object."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """Calls that stand between an opening and a closing marker."""

    name: str
    opening: str
    closing: str
    may_be_call: Callable[[str], bool]
    """Whether text after the opening marker can still become a call."""
    read: Callable[[str], list[ParsedCall] | None]
    """The calls in a whole body, or None if it is malformed."""
    is_inside_string: Callable[[str], bool]
    """Whether a body so far ends within a string, so that a closing marker there is part of an argument."""
