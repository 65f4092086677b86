"""The text of a document: of a PDF, which a process of its own reads, or of a file that is text itself."""

from __future__ import annotations

import codecs
import os
import re
import signal
import subprocess
import sys
import threading
import time

import msgspec

from localai_flask.documents.limits import Limits, PdfText, UnreadableDocument, too_long

HEAD = 1024
"""Within how many bytes a PDF says that it is one."""
MAGIC = b"%PDF-"
_FIRST_LINE = re.compile(rb"(?:\A[\s\xef\xbb\xbf]*|[\r\n])%PDF-[0-9]")
"""How a PDF says it; a text that speaks of PDFs seldom has a version at the beginning of a line."""
AT_ONCE = 2
"""PDFs that one process has read at once; more wait, and that counts as their time."""
ENDED_FOR_TIME = (-signal.SIGXCPU, -signal.SIGKILL)
KEPT_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""What of its environment a server shares with the reader of a stranger's file: no key, and no database's address."""
_places = threading.BoundedSemaphore(AT_ONCE)


def text_of(data: bytes, limits: Limits) -> str:
    """Return a file's text; raise `UnreadableDocument` with what is wrong and what to do."""
    if _FIRST_LINE.search(data[:HEAD]):
        return _text_of_pdf(data, limits)
    try:
        text = _decoded(data)
    except UnreadableDocument:
        if MAGIC in data[:HEAD]:
            return _text_of_pdf(data, limits)
        raise
    if len(text) > limits.characters:
        raise too_long(limits.characters)
    return text


def _decoded(data: bytes) -> str:
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UnreadableDocument("is neither a PDF nor text in UTF-8 or UTF-16; send its text, or make a PDF of it")
    return text


def _text_of_pdf(data: bytes, limits: Limits) -> str:
    deadline = time.monotonic() + limits.seconds
    if not _places.acquire(timeout=limits.seconds):
        raise _too_slow(limits)
    try:
        return _ask_process(data, limits, max(0.1, deadline - time.monotonic()))
    finally:
        _places.release()


def _ask_process(data: bytes, limits: Limits, timeout_s: float) -> str:
    command = [sys.executable, "-m", "localai_flask.documents.pdf_process", *map(str, limits)]
    file = os.memfd_create("document")  # a file, as the reader goes to and fro in it
    try:
        with open(file, "r+b", closefd=False) as written:
            written.write(data)
        os.lseek(file, 0, os.SEEK_SET)
        done = subprocess.run(
            command,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
            env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
            start_new_session=True,  # a Ctrl-C in the terminal is the arbiter's to handle
        )
    except subprocess.TimeoutExpired:
        raise _too_slow(limits) from None
    finally:
        os.close(file)
    if done.returncode in ENDED_FOR_TIME:
        raise _too_slow(limits)
    if done.returncode:
        raise UnreadableDocument("is a PDF at which its reader fails; send its text")
    told = msgspec.json.decode(done.stdout, type=PdfText)
    if told.problem:
        raise UnreadableDocument(told.problem)
    return told.text


def _too_slow(limits: Limits) -> UnreadableDocument:
    advice = "send a part of it, or raise LOCALAI_DOCUMENT_TIMEOUT"
    return UnreadableDocument(f"takes more than {limits.seconds} s to read; {advice}")
