"""A position in the header of a GGUF file: numbers, texts and arrays, one after the other.

Reads through a window, so that the largest vocabulary costs no more memory than that, and a file that another process
shortens meanwhile is only cut off. Knows the encoding (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), and
not what the keys mean.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

WINDOW = 1 << 20
MOST_HEADER_BYTES = 64 << 20
"""Several times what the largest vocabularies take."""
MOST_TEXTS = 1 << 21
"""Several times the tokens and merges of the largest vocabularies; stepping over them takes a fifth of a second."""
MOST_TEXT_BYTES = 1 << 20
MOST_NAME_BYTES = 1 << 12

U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
SCALARS = {kind: struct.Struct("<" + code) for kind, code in enumerate("BbHhIif?")}
SCALARS |= {10: U64, 11: struct.Struct("<q"), 12: struct.Struct("<d")}
STRING, ARRAY = 8, 9
SHOWN_BYTES = 100
"""Of a damaged text, in a message."""


class Damaged(Exception):
    """The header contradicts itself; the text completes the sentence "FILE cannot be used: …"."""


class CutOff(Exception):
    """The file ends inside its header."""


class HeaderReader:
    """Every read is checked against the end of the file and against what a header may take."""

    def __init__(self, file: BinaryIO, size: int):
        self.at = 0
        self._file, self._size = file, size
        self._window, self._begin = b"", 0
        self._texts_left = MOST_TEXTS

    def take(self, length: int) -> bytes:
        begin = self._look_at(length)
        self.at += length
        return self._window[begin : begin + length]

    def number(self, form: struct.Struct) -> Any:
        begin = self._look_at(form.size)
        self.at += form.size
        return form.unpack_from(self._window, begin)[0]

    def name(self) -> str:
        """Read the name of a key or of a tensor."""
        return self.text("a name", MOST_NAME_BYTES)

    def text(self, what: str, most: int = MOST_TEXT_BYTES) -> str:
        length = self.number(U64)
        if length > most:
            self.skip(length)  # if it is longer than the file, that is the matter
            raise Damaged(f"{what} in its header has {length} bytes; download it again")
        return self.take(length).decode("utf-8", "replace")

    def skip(self, length: int) -> None:
        if length > self._size - self.at:
            raise CutOff
        self.at += length
        if self.at > MOST_HEADER_BYTES:
            raise Damaged(f"its header is longer than {MOST_HEADER_BYTES >> 20} MiB; download it again")

    def skip_text(self) -> None:
        self.skip(self.number(U64))

    def skip_texts(self, count: int) -> None:
        """Step over texts; this loop is nearly all of the time that a header takes."""
        self._count_texts(count)
        unpack_from = U64.unpack_from
        while count:
            begin = at = self._look_at(U64.size)
            end = len(self._window) - U64.size
            while count and at <= end:
                at += U64.size + unpack_from(self._window, at)[0]
                count -= 1
            self.skip(at - begin)

    def texts(self, count: int) -> Iterator[bytes]:
        """Read texts one by one; one that is longer than the window comes as nothing."""
        self._count_texts(count)
        unpack_from = U64.unpack_from
        while count:
            self._window = b""  # the next one begins with a whole text
            at = self._look_at(U64.size)
            window, end = self._window, len(self._window)
            while count and at + U64.size <= end:
                stop = at + U64.size + unpack_from(window, at)[0]
                if stop > end:
                    break
                yield window[at + U64.size : stop]
                at, count = stop, count - 1
            if at:
                self.skip(at)
            else:
                self.skip_text()
                count -= 1
                yield b""

    def _count_texts(self, count: int) -> None:
        self._texts_left -= count
        if self._texts_left < 0:
            raise Damaged(f"its header claims more than {MOST_TEXTS} texts; download it again")

    def _look_at(self, length: int) -> int:
        """Have the next bytes in the window, and return where they begin there."""
        begin = self.at - self._begin
        if begin + length <= len(self._window):
            return begin
        before = self.at
        self.skip(length)
        self.at = self._begin = before
        self._file.seek(before)
        self._window = self._file.read(max(length, WINDOW))
        if len(self._window) < length:  # it has been shortened
            raise CutOff
        return 0
