"""Reads a PDF, or draws pages of it: `python -m localai_flask.documents.pdf_process`, with the file as standard input.

A process of its own, as a file of a few kilobytes may claim to be anything: its memory and time are bounded by the
system, it can open nothing any more once the reader has the file, and it takes no time from the streams of a web
worker.
"""

from __future__ import annotations

import codecs
import io
import os
import resource
import sys

import msgspec
import pypdfium2.raw as raw
from pypdfium2 import PdfDocument, PdfiumError, PdfPage

from localai_flask.documents.limits import Limits, UnreadableDocument, too_long
from localai_flask.documents.page_looks import looks_of
from localai_flask.documents.pages import BETWEEN_PAGES, Page, PdfAnswer

MEMORY = 2**30
"""Of the process; a page takes some MB to read, and some dozens to draw."""
MOST_WRITTEN = 2**28
"""Bytes that this process may write."""
SIDE = 1280
"""Pixels of a drawn page's longer side: small print of a sheet can be read, at about 1,500 tokens in most models."""
QUALITY = 90
LONGEST = 200
"""How many times as long as wide a page may be, as of any image."""
FAR = 1e6
"""In points: what stands beside a page is read, too, such as the end of a line that is too long for it."""
SOFT_HYPHEN = "\x02"
"""What the library makes of a hyphen at the end of a line, where it puts the word together again."""


def rehearse() -> None:
    """Read and draw an empty page, so that the libraries load what they load late."""
    pdf = PdfDocument.new()
    page = pdf.new_page(9, 9)
    looks_of(page, bool(_text(page)))
    _drawn(pdf, 0)
    codecs.lookup("utf-16-le")  # in which any text comes


def bound_process(seconds: int) -> None:
    """Let the system end this process when it takes more than it may, and open nothing for it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_WRITTEN, MOST_WRITTEN))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    os.nice(5)  # what streams comes first


def read_pdf(data: bytes, limits: Limits) -> list[Page]:
    """Return all pages; raise `UnreadableDocument` with what is wrong."""
    pdf = _opened(data)
    if (count := len(pdf)) > limits.pages:
        advice = "send fewer pages, or raise LOCALAI_DOCUMENT_PAGES"
        raise UnreadableDocument(f"has {count:,} pages, and at most {limits.pages:,} are read; {advice}")
    pages, length = [], 0
    for number in range(count):
        page = _loaded(pdf, number)
        text = _text(page)
        pages.append(Page(text, *looks_of(page, bool(text))))
        page.close()
        length += len(text) + len(BETWEEN_PAGES)
        if length > limits.characters + len(BETWEEN_PAGES):
            raise too_long(limits.characters)
    return pages


def draw_pages(data: bytes, numbers: list[int]) -> list[bytes]:
    """Draw some pages as JPEG files; raise `UnreadableDocument` with what is wrong."""
    pdf = _opened(data)
    pdf.init_forms()  # else the fields of a form are left out
    return [_drawn(pdf, number) for number in numbers]


def _opened(data: bytes) -> PdfDocument:
    try:
        return PdfDocument(data)
    except PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            said = "is an encrypted PDF; save it without its password, and send that"
            raise UnreadableDocument(said) from None
        raise UnreadableDocument("is a broken PDF; repair it, or send its text") from None


def _loaded(pdf: PdfDocument, number: int) -> PdfPage:
    try:
        return pdf[number]
    except PdfiumError:
        said = f"is a PDF whose page {number + 1} is broken; repair it, or send its text"
        raise UnreadableDocument(said) from None


def _text(page: PdfPage) -> str:
    text_page = page.get_textpage()
    text: str = text_page.get_text_bounded(-FAR, -FAR, FAR, FAR)
    text_page.close()
    return text.replace("\r\n", "\n").replace(SOFT_HYPHEN, "").strip()


def _drawn(pdf: PdfDocument, number: int) -> bytes:
    page = _loaded(pdf, number)
    shorter, longer = sorted(page.get_size())
    if not 0 < longer <= LONGEST * shorter:
        advice = "send a part of it, or its text"
        raise UnreadableDocument(f"has a page ({number + 1}) that is too narrow to be drawn; {advice}")
    bitmap = page.render(scale=(SIDE - 0.5) / longer)  # rounds the sides up
    file = io.BytesIO()
    bitmap.to_pil().save(file, "JPEG", quality=QUALITY)
    page.close()
    return file.getvalue()


def _answer(data: bytes, limits: Limits, numbers: list[int]) -> PdfAnswer:
    try:
        return PdfAnswer(images=draw_pages(data, numbers)) if numbers else PdfAnswer(pages=read_pdf(data, limits))
    except UnreadableDocument as error:
        return PdfAnswer(problem=str(error))
    except MemoryError:
        return PdfAnswer(problem="takes more memory than a PDF may; send its text, or a part of it")
    except Exception as error:  # the reader meets anything in broken files
        named = type(error).__name__
        return PdfAnswer(problem=f"is a PDF that cannot be read ({named}); repair it, or send its text")


def main() -> None:
    pages, characters, seconds, *numbers = map(int, sys.argv[1:])
    rehearse()
    data = sys.stdin.buffer.read()
    bound_process(seconds)
    answer = _answer(data, Limits(pages, characters, seconds), numbers)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
    sys.stdout.flush()
    os._exit(0)  # nothing is left to do for a library that has met a stranger's file


if __name__ == "__main__":
    main()
