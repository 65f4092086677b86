"""What a tool-call syntax has to say of itself so that a stream of text can be read with it.

A syntax is asked again whenever more text has come; what it answers must not depend on how the text was cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class ParsedCall(NamedTuple):
    """A call as it stood in the text; `arguments` is the JSON text of an object."""

    name: str
    arguments: str


class Found(NamedTuple):
    """The text after an opening marker holds these calls and ends at `end`, where other text goes on."""

    calls: list[ParsedCall]
    end: int


class Refused(NamedTuple):
    """The text after an opening marker is no call: it is plain text, at least up to `end`."""

    end: int = 0


Verdict = Found | Refused | None
"""None: more text is needed to tell."""


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """Calls that stand behind an opening marker."""

    opening: str
    scan: Callable[[str, int], Verdict]
    """Judge the text after the opening marker, of which the first so many characters have been judged before."""
    finish: Callable[[str], list[ParsedCall] | None]
    """The calls in that text if no more is to come; None if it is no call."""
    is_bare: bool = False
    """The marker could be plain text: it counts at the beginning of an answer only, and the tool's name must exist."""


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How a family of models writes its calls."""

    name: str
    syntaxes: tuple[CallSyntax, ...]
    call_end: str = ""
    """What stands behind each single call, so that a model which may call once only can be stopped there."""
    trailers: tuple[str, ...] = ()
    """Markers that models leave behind a call; they are dropped."""
    preserved: tuple[str, ...] = ()
    """Markers that are control tokens in some vocabularies, where engines would not show them."""
    call_id: Callable[[str, str, int], str] | None = None
    """From a call's id, its function's name and its number in the conversation to the id that the template wants."""
    lead: str = ""
    """What the template ends a prompt with that is the beginning of the answer's first marker."""
    ends_thinking: bool = False
    """A call may begin within the model's thinking, which it ends."""


def enclosed(
    opening: str,
    closing: str,
    read: Callable[[str], list[ParsedCall] | None],
    may_be_call: Callable[[str], bool],
    is_inside_value: Callable[[str], bool],
) -> CallSyntax:
    """Make the syntax of calls between two markers.

    `read` takes the whole text between them, or gives None if it is malformed; `may_be_call` tells from its first words
    whether it can become a call; `is_inside_value` tells whether the text so far ends within an argument's value, where
    a closing marker closes nothing.
    """

    def scan(body: str, seen: int) -> Verdict:
        if not may_be_call(body):
            return Refused()
        at = max(seen - len(closing) + 1, 0)
        while (end := body.find(closing, at)) >= 0:
            at = end + len(closing)
            if (calls := read(body[:end])) is not None:
                return Found(calls, at)
            if not is_inside_value(body[:end]):
                return Refused(at)
        return None

    def finish(body: str) -> list[ParsedCall] | None:
        return read(body.removesuffix(begun(body, closing)))

    return CallSyntax(opening, scan, finish)


def begun(text: str, marker: str) -> str:
    """Give the longest end of `text` that is a beginning of `marker`, short of the whole."""
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:length]):
            return marker[:length]
    return ""
