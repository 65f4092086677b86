"""What is in a document: a PDF, which a process of its own reads and draws, or a file that is text itself.

What waits yields at each beat, so that the caller can end it by closing: then a process is killed at once.
"""

from __future__ import annotations

import codecs
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from typing import IO

import msgspec

from localai_flask.documents.limits import Limits, UnreadableDocument, too_long
from localai_flask.documents.line import Line
from localai_flask.documents.pages import Document, Page, PdfAnswer

HEAD = 1024
"""Within how many bytes a PDF says that it is one."""
MAGIC = b"%PDF-"
_FIRST_LINE = re.compile(rb"(?:\A[\s\xef\xbb\xbf]*|[\r\n])%PDF-[0-9]")
"""How a PDF says it; a text that speaks of PDFs seldom has a version at the beginning of a line."""
AT_ONCE, OF_ONE = 3, 2
"""PDFs that one process has read at once, and those of one caller among them; more wait, which counts as their time."""
BEAT_S = 0.1
ENDED_FOR_TIME = (-signal.SIGXCPU, -signal.SIGKILL)
KEPT_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""What of its environment a server shares with the reader of a stranger's file: no key, and no database's address."""
_line = Line(AT_ONCE, OF_ONE)


def read_pages(data: bytes, limits: Limits, caller: str) -> Generator[None, None, Document]:
    """Return what is in a file; raise `UnreadableDocument` with what is wrong and what to do."""
    if _FIRST_LINE.search(data[:HEAD]):
        return (yield from _read_pdf(data, limits, caller))
    try:
        text = _decoded(data)
    except UnreadableDocument:
        if MAGIC not in data[:HEAD]:
            raise
        return (yield from _read_pdf(data, limits, caller))
    if len(text) > limits.characters:
        raise too_long(limits.characters)
    return Document([Page(text)], can_be_drawn=False)


def draw_pages(data: bytes, numbers: Sequence[int], limits: Limits, caller: str) -> Generator[None, None, list[bytes]]:
    """Draw pages of a PDF as JPEG files; raise `UnreadableDocument` with what is wrong and what to do."""
    answer = yield from _ask_process(data, limits, caller, numbers)
    return answer.images


def _decoded(data: bytes) -> str:
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UnreadableDocument("is neither a PDF nor text in UTF-8 or UTF-16; send its text, or make a PDF of it")
    return text


def _read_pdf(data: bytes, limits: Limits, caller: str) -> Generator[None, None, Document]:
    answer = yield from _ask_process(data, limits, caller)
    return Document(answer.pages)


def _ask_process(
    data: bytes, limits: Limits, caller: str, numbers: Sequence[int] = ()
) -> Generator[None, None, PdfAnswer]:
    deadline, task = time.monotonic() + limits.seconds, "draw" if numbers else "read"
    command = [sys.executable, "-m", "localai_flask.documents.pdf_process", *map(str, (*limits, *numbers))]
    turn = _line.join(caller)
    try:
        while not turn.has_come.wait(BEAT_S):
            _check_time(deadline)
            yield
        code, written = yield from _run(command, data, deadline)
    except TimeoutError:
        raise _too_slow(limits, task) from None
    finally:
        _line.leave(turn)
    if code in ENDED_FOR_TIME:
        raise _too_slow(limits, task)
    try:
        answer = msgspec.msgpack.decode(b"" if code else written, type=PdfAnswer)
    except msgspec.DecodeError:
        said = "is a PDF that takes more memory than it may, or at which its reader fails"
        raise UnreadableDocument(f"{said}; send its text, or a part of it") from None
    if answer.problem:
        raise UnreadableDocument(answer.problem)
    return answer


def _run(command: list[str], data: bytes, deadline: float) -> Generator[None, None, tuple[int, bytes]]:
    """Run a program that reads some bytes; return how it ended, and what it wrote, or raise `TimeoutError`."""
    # Without buffers, which do not know that the other process moves in the file.
    with (
        open(os.memfd_create("read"), "w+b", buffering=0) as read,
        open(os.memfd_create("written"), "w+b", buffering=0) as written,
    ):
        read.write(data)
        read.seek(0)
        code = yield from _await_end(_begin(command, read, written), deadline)
        written.seek(0)
        return code, written.read()


def _begin(command: list[str], read: IO[bytes], written: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=read,
        stdout=written,  # and no pipe, as the system bounds what goes into a file
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
        start_new_session=True,  # a Ctrl-C in the terminal is the arbiter's to handle
    )


def _await_end(process: subprocess.Popen[bytes], deadline: float) -> Generator[None, None, int]:
    """Return how a process ended; kill it if nobody waits for that any more."""
    try:
        while True:
            try:
                return process.wait(BEAT_S)
            except subprocess.TimeoutExpired:
                _check_time(deadline)
            yield
    finally:
        process.kill()
        process.wait()


def _check_time(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise TimeoutError


def _too_slow(limits: Limits, task: str) -> UnreadableDocument:
    advice = "send a part of it, or raise LOCALAI_DOCUMENT_TIMEOUT"
    return UnreadableDocument(f"takes more than {limits.seconds} s to {task}; {advice}")
