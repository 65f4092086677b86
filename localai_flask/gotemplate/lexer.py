"""From template text to tokens: text between actions with its white space trimmed, and the words inside of actions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from localai_flask.gotemplate.errors import TemplateError

SPACE = " \t\r\n"


class Kind(Enum):
    """What a token is; the values are how error messages call it."""

    TEXT = "text"
    OPEN = "{{"
    CLOSE = "}}"
    SPACE = "space"
    STRING = "string"
    RAW_STRING = "raw string"
    CHAR = "character constant"
    NUMBER = "number"
    VARIABLE = "variable"
    FIELD = "field"
    DOT = "."
    WORD = "word"
    DECLARE = ":="
    ASSIGN = "="
    PIPE = "|"
    LEFT = "("
    RIGHT = ")"
    COMMA = ","
    END = "end of the template"


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    text: str
    line: int

    def __str__(self) -> str:
        return self.kind.value if self.kind is Kind.END else f"`{self.text[:40]}`"


INSIDE = re.compile(
    r"""
    (?P<SPACE>[ \t\r\n]+)
    | (?P<STRING>"(?:[^"\\\n]|\\.)*")
    | (?P<RAW_STRING>`[^`]*`)
    | (?P<CHAR>'(?:[^'\\\n]|\\.)+')
    | (?P<NUMBER>[+-]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?\w*)
    | (?P<VARIABLE>\$\w*)
    | (?P<FIELD>\.\w+)
    | (?P<DOT>\.)
    | (?P<WORD>\w+)
    | (?P<DECLARE>:=)
    | (?P<ASSIGN>=)
    | (?P<PIPE>\|)
    | (?P<LEFT>\()
    | (?P<RIGHT>\))
    | (?P<COMMA>,)
    """,
    re.VERBOSE,
)
NEGATIVE = re.compile(r"-\.?[0-9]")
UNTERMINATED = {'"': "a string", "`": "a raw string", "'": "a character constant"}
# After these kinds something must separate them from the next word.
NAMES = {Kind.VARIABLE, Kind.FIELD, Kind.WORD, Kind.STRING, Kind.RAW_STRING, Kind.CHAR, Kind.NUMBER}
SEPARATORS = " \t\r\n.,|:=)(}-"


class Lexer:
    """Cuts one template into tokens."""

    def __init__(self, name: str, source: str):
        self.name, self.source = name, source
        self.position, self.line = 0, 1

    def tokens(self) -> Iterator[Token]:
        """Yield all tokens, END last; raises `TemplateError`."""
        trims = False
        while True:
            start = self.source.find("{{", self.position)
            text = self.source[self.position :] if start < 0 else self.source[self.position : start]
            trims_next = start >= 0 and self._trims_left(start)
            kept = text.lstrip(SPACE) if trims else text
            kept = kept.rstrip(SPACE) if trims_next else kept
            if kept:
                yield Token(Kind.TEXT, kept, self.line)
            self._advance(text)
            if start < 0:
                yield Token(Kind.END, "", self.line)
                return
            self._advance("{{-" if trims_next else "{{")
            after = (
                self.position + 1 if trims_next and self.source[self.position :][:1] in tuple(SPACE) else self.position
            )
            if self.source.startswith("/*", after):
                self._comment(after)
            else:
                yield from self._action()
            trims = self._close()

    def _trims_left(self, start: int) -> bool:
        """Return whether an action begins with `-`; Go wants white space behind it, some galleries write none."""
        return self.source.startswith("-", start + 2) and not NEGATIVE.match(self.source, start + 2)

    def _trims_right(self) -> bool:
        return self.source[self.position : self.position + 1] in tuple(SPACE) and self.source.startswith(
            "-}}", self.position + 1
        )

    def _close(self) -> bool:
        trims = self._trims_right()
        self._advance(self.source[self.position : self.position + (4 if trims else 2)])
        return trims

    def _comment(self, start: int) -> None:
        end = self.source.find("*/", start + 2)
        if end < 0:
            raise self.error("a comment is not closed with `*/`")
        self._advance(self.source[self.position : end + 2])
        if not (self.source.startswith("}}", self.position) or self._trims_right()):
            raise self.error("a comment must be alone in its action: `}}` has to follow `*/`")

    def _action(self) -> Iterator[Token]:
        yield Token(Kind.OPEN, "{{", self.line)
        while True:
            if self.source.startswith("}}", self.position) or self._trims_right():
                yield Token(Kind.CLOSE, "}}", self.line)
                return
            match = INSIDE.match(self.source, self.position)
            if match is None:
                raise self.error(self._what_is_wrong())
            kind, text = Kind[match.lastgroup or ""], match.group()
            if kind is Kind.SPACE and self._closes_after(match.end()):
                text = text[:-1]  # the last white space belongs to `-}}`
            if text:
                yield Token(kind, text, self.line)
                self._advance(text)
            follower = self.source[self.position : self.position + 1]
            if kind in NAMES and follower and follower not in SEPARATORS:
                raise self.error(f"`{text[:40]}` is followed by {follower!r} without a space")

    def _closes_after(self, position: int) -> bool:
        return self.source.startswith("-}}", position)

    def _what_is_wrong(self) -> str:
        character = self.source[self.position : self.position + 1]
        if not character:
            return "an action is not closed with `}}`"
        if character in UNTERMINATED:
            return f"{UNTERMINATED[character]} is not closed"
        return f"{character!r} has no meaning inside an action"

    def _advance(self, text: str) -> None:
        self.position += len(text)
        self.line += text.count("\n")

    def error(self, reason: str) -> TemplateError:
        return TemplateError(self.name, self.line, reason)
