"""What a document may take, and what is said of one that cannot be read or drawn."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Pages of a PDF, characters of text, and seconds that it may take to read, and again to draw."""

    pages: int
    characters: int
    seconds: int


class UnreadableDocument(Exception):
    """Holds as a predicate what is wrong with a document and what to do ("is encrypted; …")."""


def too_long(characters: int) -> UnreadableDocument:
    return UnreadableDocument(
        f"has more than {characters:,} characters of text; send a part of it, or raise LOCALAI_DOCUMENT_TEXT"
    )
