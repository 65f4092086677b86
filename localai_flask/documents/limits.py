"""What a document may take, and what is said of one that has been read, or cannot be."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Limits(NamedTuple):
    """Pages of a PDF, characters of text, and seconds that it may take to read."""

    pages: int
    characters: int
    seconds: int


class PdfText(msgspec.Struct):
    """What the process that reads a PDF says: its text, or what is wrong with the file."""

    text: str = ""
    problem: str = ""


class UnreadableDocument(Exception):
    """Holds as a predicate what is wrong with a document and what to do ("is encrypted; …")."""


def too_long(characters: int) -> UnreadableDocument:
    return UnreadableDocument(
        f"has more than {characters:,} characters of text; send a part of it, or raise LOCALAI_DOCUMENT_TEXT"
    )
