"""How a model writes its calls, in the parts that a grammar is made of.

White space with a new line in it may be left out wherever it stands in one of these texts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from localai_flask.chat.output.reasoning_marks import TagPair


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockNotation:
    """All calls of an answer: `opening`, the calls with `joint` between them, `closing`."""

    opening: str = ""
    closing: str = ""
    joint: str = "\n"
    is_single: bool = False
    """The first call ends the answer."""
    may_be_list: bool = False
    """The calls may stand in a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallNotation:
    """One call: `before`, its name, `between`, its arguments, `after`; `{number}` stands for any number.

    With `is_json` it is a JSON object, and its name a JSON string.
    """

    before: str = ""
    between: str
    after: str = ""
    is_json: bool = False
    between_pattern: str = ""
    """A regular expression for `between`, where there are several ways to write it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonArguments:
    """The arguments are a JSON object; those in `order` come first, the others by their names."""

    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedArguments:
    """An argument has tags: `before`, the key, `text` or `json` by the kind of the value, the value, `after`."""

    before: str
    text: str
    json: str
    after: str

    def end(self, key: str) -> str:
        """Return the mark that ends a value."""
        return self.after.strip().replace("{key}", key)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedArguments:
    """Arguments are keys and values with `sign` between them and commas behind.

    Values are JSON, unless texts have a `quote` of their own: then objects and lists are written in the same way.
    """

    sign: str
    quote: str = ""


class TextPlace(enum.Enum):
    """Where plain text may stand in an answer that may have calls."""

    INSTEAD = enum.auto()
    BEFORE = enum.auto()
    AROUND = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainText:
    """Text that is no call, where nothing but their form marks calls: a regular expression and its place."""

    pattern: str
    place: TextPlace = TextPlace.INSTEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """How calls are written.

    `trigger` is the beginning of a block by which it is known; without one, an answer is calls or `plain` text (None:
    calls only). `preface` are the marks around what may stand before the calls even if the answer has to be calls.
    `text_head` is a regular expression for what stands before text, where that is framed as well.
    """

    call: CallNotation
    trigger: str = ""
    block: BlockNotation = BlockNotation()
    arguments: JsonArguments | TaggedArguments | PairedArguments = JsonArguments()
    plain: PlainText | None = None
    preface: TagPair | None = None
    text_head: str = ""

    @property
    def head(self) -> str:
        """What stands before the first call's name."""
        return self.block.opening + self.call.before
