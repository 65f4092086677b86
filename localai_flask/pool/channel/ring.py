"""One byte ring in shared memory: its frames, its writing end, its reading end, and the joining of chunks to messages.

A frame is a header (bytes in the chunk, mark) and the chunk, padded so that no header ever wraps around. Each end
keeps its position to itself; what passes between them are byte counts in two eventfds. Knows nothing of sockets, locks
or waiting.
"""

from __future__ import annotations

import os
import struct

HEADER = struct.Struct("<II8x")
ALIGNMENT = HEADER.size
CHUNK_BYTES = 256 << 10
MAX_MESSAGE_BYTES = 64 << 20

WHOLE, PART, LAST = range(3)
"""Marks: a message in one chunk, a chunk that others follow, and the last of several."""


class ProtocolError(Exception):
    """The peer broke the rules of the ring; its channel is of no more use."""


Frame = tuple[int, bytes | memoryview]
"""Mark and chunk."""


def frame_bytes(length: int) -> int:
    """Return how much of a ring a chunk of `length` bytes takes."""
    return (HEADER.size + length + ALIGNMENT - 1) & -ALIGNMENT


def split(message: bytes | memoryview) -> list[Frame]:
    """Cut a message that is longer than one chunk."""
    view = memoryview(message)
    starts = range(0, len(view), CHUNK_BYTES)
    return [(LAST if at == starts[-1] else PART, view[at : at + CHUNK_BYTES]) for at in starts]


def _take(counter: int) -> int:
    try:
        return os.eventfd_read(counter)
    except BlockingIOError:
        return 0


def _add(counter: int, value: int) -> None:
    try:
        os.eventfd_write(counter, value)
    except BlockingIOError:
        raise ProtocolError("a counter is so high that only a broken peer can have set it") from None


class RingWriter:
    """The writing end, for one thread at a time."""

    def __init__(self, ring: memoryview, published: int, freed: int):
        self.freed = freed
        self._ring = ring
        self._size = len(ring)
        self._published = published
        self._position = 0
        self._room = len(ring)

    def has_room(self, length: int) -> bool:
        """Return whether a chunk of `length` bytes fits now."""
        needed = frame_bytes(length)
        if self._room < needed:
            self._room += _take(self.freed)
            if self._room > self._size:
                raise ProtocolError("more bytes were freed than the ring has")
        return self._room >= needed

    def write(self, mark: int, chunk: bytes | memoryview) -> None:
        """Copy one chunk in and publish it; the caller has made sure that it has room."""
        ring, size, length = self._ring, self._size, len(chunk)
        HEADER.pack_into(ring, self._position, length, mark)
        start = self._position + HEADER.size
        end = start + length
        if end <= size:
            ring[start:end] = chunk
        else:
            ring[start:] = chunk[: size - start]
            ring[: end - size] = chunk[size - start :]
        taken = frame_bytes(length)
        # A signal handler may raise after any call, so the position moves between two calls: both happen, or neither.
        self._position = (self._position + taken) % size
        self._room -= taken
        _add(self._published, taken)


class RingReader:
    """The reading end, for one thread at a time."""

    def __init__(self, ring: memoryview, published: int, freed: int):
        self.published = published
        self._ring = ring
        self._size = len(ring)
        self._freed = freed
        self._position = 0

    def take(self) -> list[tuple[int, bytes]]:
        """Copy out what has been published since the last call, and give its room back; check every length."""
        available = _take(self.published)
        if available > self._size:
            raise ProtocolError("more bytes were published than the ring has")
        if not available:
            return []
        frames = []
        position, left = self._position, available
        while left:
            length, mark = HEADER.unpack_from(self._ring, position)
            taken = frame_bytes(length)
            if taken > left or length > CHUNK_BYTES:
                raise ProtocolError(f"a frame claims {length} bytes")
            frames.append((mark, self._copy(position + HEADER.size, length)))
            position = (position + taken) % self._size
            left -= taken
        self._position = position
        _add(self._freed, available)
        return frames

    def _copy(self, start: int, length: int) -> bytes:
        end = start + length
        if end <= self._size:
            return bytes(self._ring[start:end])
        return b"".join((self._ring[start:], self._ring[: end - self._size]))


class Assembler:
    """Joins chunks to messages."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._length = 0

    def add(self, mark: int, chunk: bytes) -> bytes | None:
        """Take the next frame; return the message that it completes.

        Raises `ProtocolError` if the frame is out of place, or the message is too long.
        """
        in_place = {WHOLE: not self._chunks, PART: True, LAST: bool(self._chunks)}
        if not in_place.get(mark, False):
            raise ProtocolError(f"a frame has the mark {mark} out of place")
        if mark == WHOLE:
            return chunk
        self._length += len(chunk)
        if self._length > MAX_MESSAGE_BYTES:
            raise ProtocolError(f"a message has more than {MAX_MESSAGE_BYTES} bytes")
        self._chunks.append(chunk)
        if mark == PART:
            return None
        chunks, self._chunks, self._length = self._chunks, [], 0
        return b"".join(chunks)
