"""The words about what a model tells of texts without writing any: vectors, scores, tokens.

Pure data, importable from everywhere, as in `generation`. One question is about one text or one pair of texts.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from localai_flask.generation import Failed, Prompt

ALL_IT_TAKES = -1


class Embed(msgspec.Struct, frozen=True, array_like=True, tag="embed"):
    """Ask for a text's vector, as the model's pooling makes it, or for those of all its tokens if it pools none."""

    capability: ClassVar[str] = "embed"

    prompt: Prompt
    cut_to: int | None = None
    """To how many tokens a longer text is cut, `ALL_IT_TAKES`: to what the model takes; None: it is refused."""


class Score(msgspec.Struct, frozen=True, array_like=True, tag="score"):
    """Ask how well a document answers a query."""

    capability: ClassVar[str] = "score"

    query: str
    document: str
    cut_to: int | None = None
    """As in `Embed`, for both together; the document is cut, as it stands behind the query."""


class Tokenize(msgspec.Struct, frozen=True, array_like=True, tag="tokenize"):
    """Ask for a text's tokens, with their bytes if `pieces`.

    `prompt.add_bos` puts all the special tokens around it that the model wants around a whole text.
    """

    capability: ClassVar[str] = "tokenize"

    prompt: Prompt
    pieces: bool = False


class Detokenize(msgspec.Struct, frozen=True, array_like=True, tag="detokenize"):
    """Ask for the text of tokens."""

    capability: ClassVar[str] = "tokenize"

    tokens: list[int]


Question = Embed | Score | Tokenize | Detokenize


class EmbeddedPart(msgspec.Struct, frozen=True, array_like=True, tag="embedded_part"):
    """Vectors that come before those of the last word, where a text has one for each token."""

    data: bytes


class Embedded(msgspec.Struct, frozen=True, array_like=True, tag="embedded"):
    """Vectors as little-endian 32-bit floats, one after the other, each of `dimension` numbers."""

    data: bytes
    dimension: int
    tokens: int


class Scored(msgspec.Struct, frozen=True, array_like=True, tag="scored"):
    score: float
    tokens: int


class Tokenized(msgspec.Struct, frozen=True, array_like=True, tag="tokenized"):
    tokens: list[int]
    pieces: list[bytes] = []


class Detokenized(msgspec.Struct, frozen=True, array_like=True, tag="detokenized"):
    text: str


Fact = Embedded | Scored | Tokenized | Detokenized
"""What ends a question well."""
Word = EmbeddedPart | Fact | Failed
