"""What has been received of a request, as gunicorn's parser reads it: in memory, or of a large upload on disk."""

from __future__ import annotations

import tempfile
import weakref
from collections import deque
from typing import IO

from gunicorn.http.unreader import Unreader

BLOCK = 64 * 1024


class Received(Unreader):  # type: ignore[misc]
    """Hands gunicorn's parser what has been received, and then the end of the file."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: deque[bytes] = deque()
        self._tail = bytearray()
        self._file: IO[bytes] | None = None
        self._read = 0

    def hold(self, piece: bytes) -> None:
        if self._file is not None:
            self._write(self._file, piece)
            return
        self._tail += piece
        if len(self._tail) >= BLOCK:  # one object for each of a million small pieces would take more than they do
            self._blocks.append(bytes(self._tail))
            self._tail.clear()

    @property
    def held(self) -> bytes:
        return b"".join((*self._blocks, self._tail))

    def move_to_disk(self) -> None:
        """Hold what has come, and what will, in a file without a name."""
        held = self.held
        self._blocks.clear()
        self._tail.clear()
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  it is closed when the request is forgotten
        weakref.finalize(self, self._file.close)
        self._write(self._file, held)

    @staticmethod
    def _write(file: IO[bytes], piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            left = left[file.write(left) :]

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self._file is not None:
            self._file.seek(self._read)
            block = self._file.read(BLOCK)
            self._read += len(block)
            return block
        if self._blocks:
            return self._blocks.popleft()
        tail = bytes(self._tail)
        self._tail.clear()
        return tail
