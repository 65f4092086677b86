"""Counts in a file that processes map into memory: they outlive whoever counts, and whoever scrapes reads them.

One process writes to a file, and holds a lock on it while it lives; its successor goes on where it ended, so that there
are as many files as processes that count at once, however often they are replaced. What is written is never moved:
whoever reads sees whole numbers, and no more blocks than are finished. prometheus_client has files of this kind, but
one for each process that ever was, and takes five times as long for each count.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec

CAPACITY = 16 * 2**20
"""Of a file: the series of thousands of models. Only what is used takes room on disk."""
STEP = 64 * 1024
"""Room is taken in such steps, in advance: a write to a page that has none would end the process with SIGBUS."""
SUFFIX = ".counts"
_HEAD = struct.Struct("<QQ")
"""How many bytes are in use, and the pid of the process that counts."""
_BLOCK = struct.Struct("<II")
"""The size of a block's key, and how many numbers follow it."""


class Key(msgspec.Struct, frozen=True, array_like=True):
    """What a block counts."""

    family: str
    labels: tuple[str, ...]


class Block(NamedTuple):
    """The numbers of one series, as they were read."""

    key: Key
    numbers: tuple[float, ...]


_encode_key = msgspec.msgpack.Encoder().encode
_decode_key = msgspec.msgpack.Decoder(Key).decode


class CountsFile:
    """The file of one process that counts."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        os.truncate(descriptor, CAPACITY)
        self._room = 0
        self._take_room(STEP)
        self._memory = mmap.mmap(descriptor, CAPACITY)
        self.numbers = memoryview(self._memory).cast("d")
        self._used: int = max(_HEAD.size, _HEAD.unpack_from(self._memory)[0])
        self._take_room(self._used)
        _HEAD.pack_into(self._memory, 0, self._used, os.getpid())

    @classmethod
    def open(cls, folder: Path) -> CountsFile:
        """Take the first file that no living process has, or make one; raise `OSError` if there is no room."""
        folder.mkdir(exist_ok=True)
        for number in count():
            descriptor = os.open(folder / f"{number}{SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(descriptor)
            except BlockingIOError:
                os.close(descriptor)
            except OSError:
                os.close(descriptor)
                raise
        raise AssertionError("unreachable")

    def blocks(self) -> Iterator[tuple[Key, int]]:
        """Yield what a former process has counted here: each key, and the index of its first number."""
        return ((key, begin // 8) for key, begin, _ in _walk(self._memory, self._used))

    def add(self, key: Key, width: int) -> int | None:
        """Make a block of zeros, and return the index of its first number; None if there is no room."""
        text = _encode_key(key)
        behind_key = self._used + _BLOCK.size + len(text)
        begin = behind_key + -behind_key % 8
        end = begin + 8 * width
        try:
            self._take_room(end)
        except OSError:
            return None
        self._memory[self._used + _BLOCK.size : behind_key] = text
        self._memory[begin:end] = bytes(8 * width)
        _BLOCK.pack_into(self._memory, self._used, len(text), width)
        self._used = end
        _HEAD.pack_into(self._memory, 0, end, os.getpid())  # last, so that nobody reads half of a block
        return begin // 8

    def _take_room(self, size: int) -> None:
        while self._room < size:
            if self._room + STEP > CAPACITY:
                raise OSError(errno.ENOSPC, "the counts are full")
            os.posix_fallocate(self._descriptor, self._room, STEP)
            self._room += STEP


def read_counts(path: Path) -> tuple[int, list[Block]]:
    """Return the pid of the process that counts, or has counted, in a file, and what is in it."""
    with open(path, "rb") as file:
        used, pid = _HEAD.unpack(file.read(_HEAD.size).ljust(_HEAD.size, b"\0"))
        file.seek(0)
        data = file.read(used)
    return pid, [
        Block(key, struct.unpack_from(f"<{width}d", data, begin)) for key, begin, width in _walk(data, len(data))
    ]


def _walk(data: bytes | mmap.mmap, used: int) -> Iterator[tuple[Key, int, int]]:
    at = _HEAD.size
    while at < used:
        size, width = _BLOCK.unpack_from(data, at)
        behind_key = at + _BLOCK.size + size
        begin = behind_key + -behind_key % 8
        yield _decode_key(data[at + _BLOCK.size : behind_key]), begin, width
        at = begin + 8 * width
