"""One byte ring in shared memory: its frames, its writing end, its reading end, and the joining of chunks to messages.

A frame is a header (bytes in the chunk, mark, message number) and the chunk, padded so that no header ever wraps
around. Each end keeps its position to itself; what passes between them are byte counts in two eventfds. Knows nothing
of sockets, locks or waiting.
"""

from __future__ import annotations

import os
import struct

HEADER = struct.Struct("<IIQ")
ALIGNMENT = HEADER.size
CHUNK_BYTES = 256 << 10
MAX_MESSAGE_BYTES = 64 << 20
MAX_UNFINISHED = 1024
"""How many messages of one peer may be half received; each has a thread on the other side that is sending it."""

WHOLE, PART, LAST, ABORT = range(4)
"""Marks: a message in one chunk, a chunk that others follow, the last of several, and "forget what came so far"."""


class ProtocolError(Exception):
    """The peer broke the rules of the ring; its channel is of no more use."""


Frame = tuple[int, int, bytes | memoryview]
"""Mark, message number, chunk; the number tells apart the messages whose chunks interleave."""


def frame_bytes(length: int) -> int:
    """Tell how much of a ring a chunk of `length` bytes takes."""
    return (HEADER.size + length + ALIGNMENT - 1) & -ALIGNMENT


def split(message: bytes | memoryview, number: int) -> list[Frame]:
    """Cut a message that is longer than one chunk."""
    view = memoryview(message)
    starts = range(0, len(view), CHUNK_BYTES)
    return [(LAST if at == starts[-1] else PART, number, view[at : at + CHUNK_BYTES]) for at in starts]


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
        """Tell whether a chunk of `length` bytes fits now."""
        needed = frame_bytes(length)
        if self._room < needed:
            self._room += _take(self.freed)
            if self._room > self._size:
                raise ProtocolError("more bytes were freed than the ring has")
        return self._room >= needed

    def write(self, mark: int, number: int, chunk: bytes | memoryview) -> None:
        """Copy one chunk in and publish it; the caller has made sure that it has room."""
        ring, size, length = self._ring, self._size, len(chunk)
        HEADER.pack_into(ring, self._position, length, mark, number)
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

    def take(self) -> list[tuple[int, int, bytes]]:
        """Copy out what has been published since the last call, and give its room back; check every length."""
        available = _take(self.published)
        if available > self._size:
            raise ProtocolError("more bytes were published than the ring has")
        if not available:
            return []
        frames = []
        position, left = self._position, available
        while left:
            length, mark, number = HEADER.unpack_from(self._ring, position)
            taken = frame_bytes(length)
            if taken > left or length > CHUNK_BYTES:
                raise ProtocolError(f"a frame claims {length} bytes")
            frames.append((mark, number, self._copy(position + HEADER.size, length)))
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
    """Joins the chunks of messages that arrive interleaved."""

    def __init__(self) -> None:
        self._unfinished: dict[int, list[bytes]] = {}
        self._lengths: dict[int, int] = {}

    def add(self, mark: int, number: int, chunk: bytes) -> bytes | None:
        """Take a frame that is not WHOLE; return the message that it completes."""
        if mark == ABORT:
            self._forget(number)
            return None
        if mark not in (PART, LAST) or (mark == LAST and number not in self._unfinished):
            raise ProtocolError(f"a frame has the mark {mark} out of place")
        self._keep(number, chunk)
        return b"".join(self._forget(number)) if mark == LAST else None

    def _keep(self, number: int, chunk: bytes) -> None:
        length = self._lengths.get(number, 0) + len(chunk)
        if length > MAX_MESSAGE_BYTES:
            raise ProtocolError(f"a message has more than {MAX_MESSAGE_BYTES} bytes")
        if number not in self._unfinished and len(self._unfinished) == MAX_UNFINISHED:
            raise ProtocolError(f"more than {MAX_UNFINISHED} messages are half sent")
        self._lengths[number] = length
        self._unfinished.setdefault(number, []).append(chunk)

    def _forget(self, number: int) -> list[bytes]:
        self._lengths.pop(number, None)
        return self._unfinished.pop(number, [])
