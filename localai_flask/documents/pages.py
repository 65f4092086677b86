"""The pages of a document: their text, what they show beside it, and which of them a model is to see."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

DETAILS = ("auto", "low", "high")
"""What a client may ask for: the pages that show something which their text does not tell, only those without text, or
all of them."""
FEW_CHARACTERS = 40
"""What a scanned page may have as text nevertheless: a stamp, or the page's number."""
NOTICEABLE = 0.05
"""How much of a page its pictures take that are more than a logo."""
BETWEEN_PAGES = "\n\n"


class Page(msgspec.Struct, frozen=True, array_like=True):
    """A page's text, and what is on it otherwise.

    `pictures` is which part of its area they take, and `is_bare` says that there is text only, or nothing.
    """

    text: str
    pictures: float = 0.0
    has_drawing: bool = False
    is_bare: bool = True

    @property
    def is_silent(self) -> bool:
        """Whether it shows something, but has no text to speak of."""
        return not self.is_bare and sum(map(str.isalnum, self.text)) < FEW_CHARACTERS


class Document(msgspec.Struct, frozen=True):
    """A document as it has been read; one that is text itself is a single page that nobody draws."""

    pages: list[Page]
    can_be_drawn: bool = True

    @property
    def has_text(self) -> bool:
        return any(page.text for page in self.pages)

    @property
    def characters(self) -> int:
        return sum(len(page.text) for page in self.pages) + len(BETWEEN_PAGES) * (len(self.pages) - 1)


class PdfAnswer(msgspec.Struct):
    """What the process that reads PDFs says: the pages, or the images of those that it drew, or what is wrong."""

    pages: list[Page] = []
    images: list[bytes] = []
    problem: str = ""


def pages_to_draw(document: Document, detail: str) -> list[int]:
    """Choose the pages that a model is to see, by their places."""
    if not document.can_be_drawn:
        return []
    return [number for number, page in enumerate(document.pages) if _is_to_be_seen(page, detail)]


def _is_to_be_seen(page: Page, detail: str) -> bool:
    match detail:
        case "high":
            return True
        case "low":
            return page.is_silent
    return page.is_silent or page.has_drawing or page.pictures >= NOTICEABLE


def joined(texts: Sequence[str]) -> str:
    """Put the texts of pages behind one another; a text alone stays as it is."""
    return BETWEEN_PAGES.join(texts).strip() if len(texts) > 1 else "".join(texts)
