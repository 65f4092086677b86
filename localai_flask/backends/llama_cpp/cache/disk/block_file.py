"""One file of computed tokens: how it is written so that it is there whole or not at all, read, and checked.

Knows bytes and tokens, but not what llama.cpp makes of them. What is wrong with a file raises `BrokenFile`.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from localai_flask.backends.llama_cpp.cache.states import State
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens

MAGIC = b"localai-flask prompt 1\n"
SUFFIX, UNFINISHED = ".kv", ".part"
PIECE = 1 << 20
"""Bytes that have a checksum of their own: CRC-32, which is as fast as memory and finds any accidental change."""
_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = hashlib.sha256().digest_size
_MOST_HEADER = 64 << 20


class BrokenFile(Exception):
    """A file is none of these, or not what it was when it was written."""

    def __init__(self, file: Path, said: str, *, is_certain: bool = True):
        """Without being certain the file may be sound, and only could not be read."""
        super().__init__(f"{file} {said}")
        self.file = file
        self.is_certain = is_certain


class _Header(msgspec.Struct, frozen=True, array_like=True):
    parent: str
    begin: int
    sound: int
    tokens: bytes
    parts: list[tuple[int, int]]
    sums: bytes


@dataclass(eq=False, slots=True)
class Block:
    """A part of a branch: some tokens behind those that `parent` stands for, and where their states lie."""

    file: Path
    parent: str
    begin: int
    tokens: Tokens
    sound: int
    """How many tokens of the whole branch were computed with nothing beside them."""
    checkpoints: tuple[int, ...]
    size: int
    used: float
    """When it was used last, in seconds of the wall clock."""

    @property
    def name(self) -> str:
        """What stands for all tokens up to its end."""
        return self.file.stem

    @property
    def end(self) -> int:
        return self.begin + len(self.tokens)


@dataclass(eq=False, slots=True)
class Piece:
    """What a block is made of: its state, and those after fewer tokens for memory that cannot roll back."""

    parent: str
    begin: int
    tokens: Tokens
    sound: int
    parts: Sequence[tuple[int, State]]
    """Counts of tokens with the states behind them, that of all tokens first."""

    @property
    def size(self) -> int:
        return sum(state.nbytes for _, state in self.parts) + self.tokens.nbytes

    @property
    def name(self) -> str:
        return name_of(self.parent, self.tokens)


def name_of(parent: str, tokens: Tokens) -> str:
    """Return what stands for tokens behind those that `parent` stands for."""
    return hashlib.sha256(parent.encode() + b"\n" + tokens.astype("<i4").tobytes()).hexdigest()[:40]


def write_block(folder: Path, piece: Piece) -> Block:
    """Write a block, readable for this user alone; raise `OSError`, and then nothing is left behind."""
    file = folder / (piece.name + SUFFIX)
    parts = [(length, state.nbytes) for length, state in piece.parts]
    sums = [zlib.crc32(chunk) for _, state in piece.parts for chunk in _chunks(state)]
    tokens = piece.tokens.astype("<i4").tobytes()
    header = msgspec.msgpack.encode(
        _Header(piece.parent, piece.begin, piece.sound, tokens, parts, np.array(sums, "<u4").tobytes())
    )
    made = folder / f".{piece.name}.{os.getpid()}{UNFINISHED}"
    try:
        with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as writing:
            writing.write(MAGIC + _LENGTH.pack(len(header)) + hashlib.sha256(header).digest() + header)
            for _, state in piece.parts:
                for chunk in _chunks(state):
                    writing.write(chunk)
        size = made.stat().st_size
        os.replace(made, file)
    except BaseException:
        with contextlib.suppress(OSError):
            made.unlink()
        raise
    lengths = tuple(length for length, _ in parts[1:])
    return Block(file, piece.parent, piece.begin, piece.tokens, piece.sound, lengths, size, time.time())


def read_block(file: Path) -> Block:
    """Read what a block is, but none of its states."""
    with _reading(file) as opened:
        header, begin = _read_header(opened)
        status = os.fstat(opened.fileno())
    if status.st_size != begin + sum(size for _, size in header.parts):
        raise BrokenFile(file, "is cut off")
    tokens = np.frombuffer(header.tokens, "<i4").astype(np.int32)
    if name_of(header.parent, tokens) != file.stem or not len(tokens):
        raise BrokenFile(file, "has another one's name")
    lengths = tuple(length for length, _ in header.parts[1:])
    return Block(file, header.parent, header.begin, tokens, header.sound, lengths, status.st_size, status.st_mtime)


def map_states(block: Block) -> list[State]:
    """Check the states of a block and map them into memory, that of all tokens first.

    They are read before: an error of the disk ends a process that meets it in a mapping.
    """
    with _reading(block.file) as opened:
        header, begin = _read_header(opened)
        sums = np.frombuffer(header.sums, "<u4").tolist()
        for _, size in header.parts:
            for at in range(0, size, PIECE):
                if not sums or zlib.crc32(opened.read(min(PIECE, size - at))) != sums.pop(0):
                    raise BrokenFile(block.file, "has changed")
        mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    states, at = [], begin
    for _, size in header.parts:
        if at + size > len(mapping):
            raise BrokenFile(block.file, "is cut off")
        states.append(np.frombuffer(mapping, np.uint8, size, at))
        at += size
    return states


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[BinaryIO]:
    try:
        with open(file, "rb", buffering=0) as opened:
            yield opened
    except (OSError, ValueError) as error:
        raise BrokenFile(file, f"cannot be read: {error}", is_certain=False) from error


def _read_header(opened: BinaryIO) -> tuple[_Header, int]:
    """Read the header, and return where the states begin."""
    start = opened.read(len(MAGIC) + _LENGTH.size + _DIGEST_BYTES)
    if len(start) < len(MAGIC) + _LENGTH.size + _DIGEST_BYTES or not start.startswith(MAGIC):
        raise BrokenFile(Path(opened.name), "is of another kind")
    (length,) = _LENGTH.unpack_from(start, len(MAGIC))
    encoded = opened.read(min(length, _MOST_HEADER))
    if hashlib.sha256(encoded).digest() != start[-_DIGEST_BYTES:]:
        raise BrokenFile(Path(opened.name), "has changed")
    try:
        return msgspec.msgpack.decode(encoded, type=_Header), len(start) + length
    except msgspec.MsgspecError as error:
        raise BrokenFile(Path(opened.name), "is of another kind") from error


def _chunks(state: State) -> Iterator[memoryview]:
    view = state.data
    for at in range(0, len(view), PIECE):
        yield view[at : at + PIECE]
