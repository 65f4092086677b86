"""Reads the text of one PDF: `python -m localai_flask.documents.pdf_process`, with the file as its standard input.

A process of its own, as a file of a few kilobytes may claim to be anything: its memory and time are bounded by the
system, and it takes no time from the streams of a web worker.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
from typing import BinaryIO

import msgspec
import pypdf
from pypdf.errors import DependencyError, LimitReachedError, PyPdfError

from localai_flask.documents.limits import Limits, PdfText, UnreadableDocument, too_long

MEMORY = 2**30
"""Of the process; a page's text takes some MB at most."""
MOST_STREAM = 32 * 2**20
"""What a page's commands or a font's table may become when they are unpacked."""
MOST_WORK = 64 * 2**20
BETWEEN_PAGES = "\n\n"


def bound_process(seconds: int) -> None:
    """Let the system end this process when it takes more than it may."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)  # what streams comes first


def read_pdf(file: BinaryIO, limits: Limits) -> str:
    """Return the text of all pages; raise `UnreadableDocument` with what is wrong."""
    pypdf.overwrite_configuration(
        disable_legacy_handling=True,
        zlib_maximum_output_length=MOST_STREAM,
        lzw_maximum_output_length=MOST_STREAM,
        run_length_maximum_output_length=MOST_STREAM,
        brotli_maximum_output_length=MOST_STREAM,
        maximum_declared_stream_length=MOST_STREAM,
        array_based_stream_maximum_output_length=MOST_STREAM,
        stream_decoding_work_maximum_length=MOST_WORK,
        jbig2dec_binary=None,
    )
    try:
        return _text_of(file, limits)
    except UnreadableDocument:
        raise
    except (LimitReachedError, MemoryError, RecursionError):
        raise UnreadableDocument("unpacks to more than is read of a PDF; send its text, or a part of it") from None
    except PyPdfError as error:
        raise UnreadableDocument(f"is a broken PDF ({error}); repair it, or send its text") from None
    except Exception as error:  # the reader meets anything in broken files
        named = type(error).__name__
        raise UnreadableDocument(f"is a PDF that cannot be read ({named}); repair it, or send its text") from None


def _text_of(file: BinaryIO, limits: Limits) -> str:
    reader = pypdf.PdfReader(file)
    if reader.is_encrypted:
        _open_without_password(reader)
    if (count := len(reader.pages)) > limits.pages:
        advice = "send fewer pages, or raise LOCALAI_DOCUMENT_PAGES"
        raise UnreadableDocument(f"has {count:,} pages, and at most {limits.pages:,} are read; {advice}")
    texts, length = [], 0
    for page in reader.pages:
        texts.append(page.extract_text().strip())
        length += len(texts[-1]) + len(BETWEEN_PAGES)
        if length > limits.characters + len(BETWEEN_PAGES):
            raise too_long(limits.characters)
    text = BETWEEN_PAGES.join(texts).strip()
    if not text:
        advice = "only the text of a PDF is read: send its pages as images to a model that sees"
        raise UnreadableDocument(f"has no text, as of scanned pages; {advice}")
    return text


def _open_without_password(reader: pypdf.PdfReader) -> None:
    """Open a file that only forbids to change or print it."""
    try:
        is_open = bool(reader.decrypt(""))
    except DependencyError:  # AES, for which the reader wants a further library
        is_open = False
    if not is_open:
        raise UnreadableDocument("is an encrypted PDF; save it without its password, and send that")


def main() -> None:
    limits = Limits(*map(int, sys.argv[1:4]))
    bound_process(limits.seconds)
    logging.disable()  # the reader tells of everything that it mends
    try:
        told = PdfText(text=read_pdf(sys.stdin.buffer, limits).encode("utf-8", "replace").decode())
    except UnreadableDocument as error:
        told = PdfText(problem=str(error).encode("utf-8", "replace").decode())
    sys.stdout.buffer.write(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
