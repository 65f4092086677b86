"""What a tool-call syntax has to say of itself so that a stream of text can be read with it.

A syntax reads as a generator over a `Body`, the text behind its opening marker: it yields a step whenever something is
settled, and None where it needs more text. How the text was cut makes no difference to the steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import regex

from localai_flask.chat.formats.notation import Notation
from localai_flask.chat.output.reasoning_marks import TagPair


class Begun(NamedTuple):
    """A call of this function begins."""

    name: str


class Said(NamedTuple):
    """More of the JSON text of the call's arguments."""

    text: str


class Ended(NamedTuple):
    """The call is whole."""


class Thinks(NamedTuple):
    """No call, but thinking begins here."""

    pair: TagPair


Step = Begun | Said | Ended | Thinks
Steps = Generator[Step | None, None, None]
Functions = Mapping[str, Mapping[str, Any]]
"""The functions that exist, with the JSON Schemas of their parameters."""
NO_FUNCTIONS: Functions = {}
LONGEST_HEAD = 4096
"""Characters within which a name or a mark has to come to its end: text that goes on is none, and not held for ever."""


_NOT_BLANK = re.compile(r"\S")


class NotACall(Exception):
    """The text is no call after all; raised before `Begun` only."""


class CutOff(Exception):
    """The text ended within the call."""


class Body:
    """The text behind an opening marker as far as it has come; `at` is how far it has been read.

    `is_whole` tells that no more will come.
    """

    def __init__(self, text: str = "", at: int = 0):
        self.text, self.at, self.is_whole = text, at, False
        self._blank = at
        """How far the text is known to be white space, from `at` on."""

    def add(self, text: str, *, keeps_read: bool) -> None:
        """Take more text; without `keeps_read`, what has been read is forgotten."""
        if not keeps_read and self.at:
            self._blank = max(self._blank - self.at, 0)
            self.text, self.at = self.text[self.at :], 0
        self.text += text

    @property
    def rest(self) -> str:
        return self.text[self.at :]

    @property
    def _is_blank(self) -> bool:
        """Whether nothing but white space is left to read, and some of it; it is looked at once."""
        found = _NOT_BLANK.search(self.text, max(self._blank, self.at))
        self._blank = len(self.text) if found is None else found.start()
        return found is None and self.at < len(self.text)

    def match(self, pattern: regex.Pattern[str]) -> Generator[None, None, regex.Match[str] | None]:
        """Take what matches here; give None, and take nothing, if nothing does, or nothing so short as a head."""
        while True:
            if not self.is_whole and self._is_blank:  # cheaper to pass over than by a pattern, which goes back
                yield None
                continue
            found = pattern.match(self.text, self.at, partial=not self.is_whole)
            if found is None or len(found.group()) > LONGEST_HEAD:
                return None
            if not found.partial:
                self.at = found.end()
                return found
            yield None

    def until(self, mark: str) -> Generator[None, None, str]:
        """Take the text up to a mark, and the mark."""
        seen = 0
        while (end := self.text.find(mark, self.at + seen)) < 0:
            if self.is_whole:
                raise CutOff
            seen = max(len(self.text) - self.at - len(mark) + 1, 0)
            yield None
        text, self.at = self.text[self.at : end], end + len(mark)
        return text


Read = Callable[[Body, Functions], Steps]


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """Calls that stand behind an opening marker."""

    opening: str
    read: Read
    is_bare: bool = False
    """The marker could be plain text: it counts at the beginning of an answer only."""
    reads_opening: bool = False
    """The marker belongs to the body."""


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
    notation: Notation | None = None
    """None: calls can be read, but not enforced."""
    frames_text: bool = False
    """The markers stand around plain text too, so that they are read whether there are tools or not."""
