"""What is in documents: PDFs, by a process of its own, and files that are text; what else is refused by name."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time

import PIL.Image
import pytest

from localai_flask.documents import reading
from localai_flask.documents.limits import Limits, UnreadableDocument
from localai_flask.documents.line import Line
from localai_flask.documents.reading import read_pages
from tests.support.documents import draw_now, read_now
from tests.support.pdfs import (
    bomb,
    encrypted,
    endless,
    nested,
    pages,
    painted_over,
    pdf,
    picture_bomb,
)
from tests.support.processes import children, command, state, wait_for

LIMITS = Limits(pages=3, characters=1000, seconds=20)
FAILS = "takes more memory than it may, or at which its reader fails; send its text, or a part of it"


def texts_of(data: bytes, limits: Limits = LIMITS) -> list[str]:
    return [page.text for page in read_now(data, limits).pages]


def text_of(data: bytes, limits: Limits = LIMITS) -> str:
    (text,) = texts_of(data, limits)
    return text


def drawn(data: bytes, *numbers: int) -> list[PIL.Image.Image]:
    return [PIL.Image.open(io.BytesIO(file), formats=["JPEG"]) for file in draw_now(data, numbers or (0,), LIMITS)]


def test_pages_stand_in_their_order() -> None:
    assert texts_of(pdf("one", "", "three"), LIMITS) == ["one", "", "three"]


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
        (bomb(), FAILS),
        (nested(), FAILS),
        (b"%PDF-1.4\nnothing", "is a broken PDF; repair it, or send its text"),
        (pdf("one")[:200], "is a broken PDF"),
        (pdf("one").replace(b"/Type /Page /Parent", b"/Type /Pane /Parent"), "page 1 is broken; repair it"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is neither a PDF nor text in UTF-8 or UTF-16; send its text, or make a PDF of it"),
        ("Größe".encode("latin-1"), "is neither a PDF nor text"),
        (b"a\0b", "is neither a PDF nor text"),
    ],
    ids=[
        "encrypted", "pages", "page", "together", "text", "bomb", "nested", "broken", "cut", "page broken", "png",
        "latin", "nul",
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why_and_what_to_do(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableDocument, match=re.escape(said)):
        text_of(data, LIMITS)


def test_one_that_takes_too_long_is_given_up() -> None:
    began = time.monotonic()
    with pytest.raises(UnreadableDocument, match=r"takes more than 1 s to read; .* LOCALAI_DOCUMENT_TIMEOUT"):
        text_of(endless(), Limits(1000, 10**9, 1))
    assert time.monotonic() - began < 10


def test_waiting_for_others_counts_as_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_line", Line(1, 1))
    turn = reading._line.join("another")
    with pytest.raises(UnreadableDocument, match="takes more than 1 s"):
        text_of(pdf("one"), Limits(3, 1000, 1))
    reading._line.leave(turn)
    assert text_of(pdf("one"), LIMITS) == "one", "the place is free again"


def test_closing_kills_the_reader_at_once_and_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_line", Line(1, 1))
    waiting = read_pages(endless(), Limits(1000, 10**9, 600), "me")
    next(waiting)
    readers = wait_for(lambda: [pid for pid in children(os.getpid()) if "pdf_process" in command(pid)])
    waiting.close()
    assert len(readers) == 1 and state(readers[0]) == ""
    assert text_of(pdf("one"), LIMITS) == "one"


def test_who_waits_for_a_place_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_line", Line(1, 1))
    turn = reading._line.join("another")
    waiting = read_pages(pdf("one"), LIMITS, "me")
    next(waiting)
    waiting.close()
    reading._line.leave(turn)
    assert text_of(pdf("one"), LIMITS) == "one"


def test_a_reader_that_dies_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading.sys, "executable", "/bin/false")
    with pytest.raises(UnreadableDocument, match=FAILS):
        text_of(pdf("one"), LIMITS)


def test_the_reader_of_a_strangers_file_hears_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALAI_API_KEY", "secret")
    say = "sys.stdout.buffer.write(msgspec.msgpack.encode({'problem': ' '.join(os.environ)}))"
    begin = subprocess.Popen
    program = [sys.executable, "-c", f"import msgspec, os, sys; {say}"]
    monkeypatch.setattr(subprocess, "Popen", lambda _, **how: begin(program, **how))
    with pytest.raises(UnreadableDocument) as told:
        text_of(pdf("hello"), LIMITS)
    assert "PATH" in str(told.value) and "LOCALAI_API_KEY" not in str(told.value)


@pytest.mark.parametrize(
    ("does", "fails"),
    [
        ("open('/etc/hostname')", "OSError"),
        ("__import__('socket').socket()", "OSError"),
        ("bytearray(2**30)", "MemoryError"),
    ],
)
def test_once_it_has_the_file_it_can_open_nothing(does: str, fails: str) -> None:
    """What it would need for that, if a stranger's file took it over."""
    begin = "import socket; from localai_flask.documents import pdf_process as p; p.rehearse(); p.bound_process(9)"
    done = subprocess.run([sys.executable, "-c", f"{begin}; print(1); {does}"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "1\n" and fails in done.stderr


def test_words_are_whole_that_lines_part() -> None:
    """A hyphen at the end of a line, and its other half on the next one."""
    lines = "BT /F1 12 Tf 14 TL 50 700 Td (a hyphen parts a sec-) Tj T* (tion of the page) Tj ET"
    assert text_of(pages(lines)).split() == ["a", "hyphen", "parts", "a", "section", "of", "the", "page"]


class TestDrawing:
    @pytest.mark.parametrize(
        ("box", "size"),
        [
            ("0 0 612 792", (990, 1280)),
            ("0 0 792 612", (1280, 990)),
            ("0 0 10 20", (640, 1280)),
            ("0 0 1000000 1000000", (1280, 1280)),
            ("0 0 2000000000 2000000000", (1280, 1280)),
            ("0 0 0 0", (990, 1280)),
            ("0 0 nan inf", (990, 1280)),
            (f"0 0 {10**39} {10**39}", (990, 1280)),
            ("100 100 -100 0", (1280, 640)),
        ],
    )
    def test_the_longer_side_is_the_same_whatever_the_page_claims(self, box: str, size: tuple[int, int]) -> None:
        fill = 2_000_000_000 if size == (1280, 1280) else 2000
        (page,) = drawn(pages(f"1 0 0 rg -{fill} -{fill} {2 * fill} {2 * fill} re f", box=box))
        assert page.size == pytest.approx(size, abs=1) and max(page.size) == 1280
        assert page.getpixel((600, 600)) == pytest.approx((255, 0, 0), abs=3), "red is red"

    def test_pages_are_drawn_in_the_order_asked_and_always_alike(self) -> None:
        data = pages("1 0 0 rg 0 0 999 999 re f", "0 1 0 rg 0 0 999 999 re f", "0 0 1 rg 0 0 999 999 re f")
        assert [page.getpixel((5, 5)).index(max(page.getpixel((5, 5)))) for page in drawn(data, 2, 0)] == [2, 0]
        assert draw_now(data, [2, 0], LIMITS) == [draw_now(data, [at], LIMITS)[0] for at in (2, 0)]

    def test_one_that_is_encrypted_without_a_password_is_drawn(self) -> None:
        assert drawn(encrypted(pdf("one"), ""))[0].size == (989, 1280)

    def test_a_picture_of_hundreds_of_megapixels_is_made_smaller(self) -> None:
        assert drawn(picture_bomb())[0].getpixel((500, 500)) == (0, 0, 0)

    def test_what_is_broken_within_a_page_is_left_white(self) -> None:
        broken = b"<< /Type /XObject /Subtype /Image /Width 30000 /Height 30000 /BitsPerComponent 1 /ColorSpace"
        broken += b" /DeviceGray /Filter /JBIG2Decode /Length 9 >>\nstream\n\0\0\0\0\x30\0\1\0\0\nendstream"
        (page,) = drawn(pages("500 0 0 500 0 0 cm /X0 Do", objects=[broken]))
        assert page.getpixel((5, 5)) == (255, 255, 255)

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (pages("", box="0 0 1000000 1"), r"has a page \(1\) that is too narrow to be drawn; send a part of it"),
            (nested(), FAILS),
            (painted_over(), "takes more than 1 s to draw; send a part of it, or raise LOCALAI_DOCUMENT_TIMEOUT"),
            (encrypted(pdf("one"), "secret"), "is an encrypted PDF"),
        ],
        ids=["narrow", "nested", "painted over", "encrypted"],
    )
    def test_what_cannot_be_drawn_says_why_and_what_to_do(self, data: bytes, said: str) -> None:
        with pytest.raises(UnreadableDocument, match=said):
            draw_now(data, [0], Limits(1, 1000, 1 if "1 s" in said else 20))
