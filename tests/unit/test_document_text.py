"""The text of documents: of PDFs by a process of its own, and of files that are text; what else is refused by name."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from localai_flask.documents import text
from localai_flask.documents.limits import Limits, UnreadableDocument
from localai_flask.documents.text import text_of
from tests.support.pdfs import bomb, encrypted, endless, pdf

LIMITS = Limits(pages=3, characters=1000, seconds=20)


def test_pages_stand_in_their_order() -> None:
    assert text_of(pdf("one", "two", "three"), LIMITS) == "one\n\ntwo\n\nthree"


def test_a_pdf_may_stand_behind_other_bytes() -> None:
    assert text_of(b"\n" * 100 + pdf("one"), LIMITS) == "one"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_decoded(encoding: str) -> None:
    assert text_of("Größe: 3 µm".encode(encoding), LIMITS) == "Größe: 3 µm"


def test_a_pdf_that_opens_without_a_password_is_read() -> None:
    assert text_of(encrypted(pdf("one"), ""), LIMITS) == "one"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encrypted(pdf("one"), "secret"), "is an encrypted PDF; save it without its password"),
        (pdf(*"abcd"), "has 4 pages, and at most 3 are read; send fewer pages, or raise LOCALAI_DOCUMENT_PAGES"),
        (pdf("a" * 1001), "has more than 1,000 characters of text; send a part of it, or raise LOCALAI_DOCUMENT_TEXT"),
        (pdf(*["a" * 400] * 3), "has more than 1,000 characters"),
        (b"a" * 1001, "has more than 1,000 characters"),
        (pdf(""), "has no text, as of scanned pages; only the text of a PDF is read: send its pages as images"),
        (bomb(), "unpacks to more than is read of a PDF; send its text"),
        (b"%PDF-1.4\nnothing", "PDF"),
        (pdf("one")[:200], "PDF"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is neither a PDF nor text in UTF-8 or UTF-16; send its text, or make a PDF of it"),
        ("Größe".encode("latin-1"), "is neither a PDF nor text"),
        (b"a\0b", "is neither a PDF nor text"),
    ],
    ids=["encrypted", "pages", "page", "together", "text", "scanned", "bomb", "broken", "cut", "png", "latin", "nul"],
)
def test_what_cannot_be_read_says_why_and_what_to_do(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableDocument, match=re.escape(said)):
        text_of(data, LIMITS)


def test_one_that_takes_too_long_is_given_up() -> None:
    began = time.monotonic()
    with pytest.raises(UnreadableDocument, match=r"takes more than 1 s to read; .* LOCALAI_DOCUMENT_TIMEOUT"):
        text_of(endless(), Limits(1000, 10**9, 1))
    assert time.monotonic() - began < 10


def test_waiting_for_others_counts_as_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_places", text.threading.BoundedSemaphore(1))
    with text._places, pytest.raises(UnreadableDocument, match="takes more than 1 s"):
        text_of(pdf("one"), Limits(3, 1000, 1))
    assert text_of(pdf("one"), LIMITS) == "one", "the place is free again"


def test_a_reader_that_dies_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text.sys, "executable", "/bin/false")
    with pytest.raises(UnreadableDocument, match="its reader fails; send its text"):
        text_of(pdf("one"), LIMITS)


def test_the_reader_of_a_strangers_file_hears_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALAI_API_KEY", "secret")
    program = "import os, sys; sys.stdout.write('{\"text\": \"' + ' '.join(os.environ) + '\"}')"
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **how: run([sys.executable, "-c", program], **how))
    told = text_of(pdf("hello"), LIMITS)
    assert "PATH" in told and "LOCALAI_API_KEY" not in told
