"""A request as its bytes come in: where its head ends, where its body ends, and when it has taken too long.

Knows no socket. gunicorn parses the head; of the body only the end is sought, and the framing of chunks taken off.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from gunicorn.http.body import CHUNK_EXT_RE, Body, ChunkedReader, LengthReader
from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkExtension,
    InvalidChunkSize,
    InvalidHeader,
    LimitRequestHeaders,
)
from gunicorn.http.message import Request, _ip_in_allow_list

from localai_flask.server.web.received import Received

MAX_HEAD = 64 * 1024
MAX_LINE = 1024
"""Of the size of a chunk with its extensions, or of a trailer field, which nobody reads."""
MAX_TRAILERS = 100
SLOWEST = 16 * 1024
"""Bytes a second that a body comes in with at least, beyond the client's time."""
CHUNKS_AT_WILL = 65_536
SMALLEST_CHUNK = 64
"""Bytes that chunks have on average where there are more than that: each costs time, however small it is."""

MOST_HELD = 15 * 2**20
"""Bytes of a body that are held in memory, if nothing else is said."""

BARE_LF = re.compile(rb"(?<!\r)\n")
SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


class ParserSettings:
    """gunicorn's settings as its parser asks for them, a dozen for each request: each is looked up once."""

    def __init__(self, cfg: Any):
        self._cfg = cfg

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cfg, name)
        setattr(self, name, value)
        return value


class ParsedRequest(Request):  # type: ignore[misc]
    """gunicorn's request, which remembers whom it trusts."""

    def _peer_is_trusted_proxy(self) -> bool:
        if not isinstance(self.peer_addr, tuple):
            return True
        networks = self.cfg.forwarded_allow_networks()
        return _is_trusted(self.peer_addr[0], tuple(self.cfg.forwarded_allow_ips), tuple(networks))


@functools.lru_cache(maxsize=1024)
def _is_trusted(address: str, allowed: tuple[str, ...], networks: tuple[Any, ...]) -> bool:
    return bool(_ip_in_allow_list(address, allowed, networks))


class Arrival:
    """One request that arrives, in whatever pieces; `patience_s` is the time for its head, and for its body.

    `most_bytes` says of a request how long its body may be; what is longer than `most_held` is kept on disk.
    """

    def __init__(
        self, cfg: Any, client: Any, most_bytes: Callable[[Any], int], patience_s: float, most_held: int = MOST_HELD
    ):
        self._cfg = cfg
        self._client = client
        self._most_of = most_bytes
        self._most_bytes = 0
        self._most_held = most_held
        self._patience_s = patience_s
        self._head = bytearray()
        self._received = Received()
        self._length = 0
        self._chunks: Chunks | None = None
        self._begun = 0.0
        self._is_given_up = False
        self.request: Any = None
        """gunicorn's request, once its head is there."""
        self.size = 0
        """How many bytes are held of it in memory."""
        self.on_disk = 0
        """How many are on disk; all, if any are."""

    @property
    def has_begun(self) -> bool:
        return self._begun > 0

    @property
    def deadline(self) -> float:
        """Until when the head, or the body, has to be there if it does not go on; on the clock of `time.monotonic`."""
        return self._begun + self._patience_s + (self.size + self.on_disk) / SLOWEST

    @property
    def is_large(self) -> bool:
        """Whether a body is on its way that is known to be longer than may be held in memory."""
        return not self._is_given_up and (self._length > self._most_held or self.on_disk > 0)

    @property
    def body(self) -> bytes:
        """What has come of the body, as long as nobody has read it."""
        return self._received.held

    def feed(self, data: bytes) -> bytes | None:
        """Take what came; return what came behind the request if that is whole, and None as long as it is not.

        A request is also whole when its body is known to be too long; nobody reads that then, and the connection ends
        with the answer. Raises gunicorn's `ParseException`.
        """
        if not self._begun:
            self._begun = time.monotonic()
        if self.request is not None:
            return self._feed_body(data)
        searched = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n", max(0, searched - 3))
        if end < 0 and BARE_LF.search(self._head, max(0, searched - 1)):
            raise InvalidHeader("bare LF as line terminator")
        if max(end, len(self._head) if end < 0 else 0) > MAX_HEAD:
            raise LimitRequestHeaders(f"the head is longer than {MAX_HEAD} bytes")
        if end < 0:
            self.size = len(self._head)
            return None
        behind = bytes(self._head[end + 4 :])
        self._parse(bytes(self._head[: end + 4]))
        return self._feed_body(behind)

    def _parse(self, head: bytes) -> None:
        self._head.clear()
        self._begun = time.monotonic()
        self._received.hold(head)
        self.request = ParsedRequest(self._cfg, self._received, self._client)
        self.size = len(head)
        self._most_bytes = self._most_of(self.request)
        reader = self.request.body.reader
        if isinstance(reader, ChunkedReader):
            self._chunks = Chunks()
        elif isinstance(reader, LengthReader):
            self._length = reader.length

    def _feed_body(self, data: bytes) -> bytes | None:
        if self._length > self._most_bytes:
            return self.give_up()
        if self._chunks is not None:
            return self._feed_chunks(self._chunks, data)
        piece, behind = data[: self._length], data[self._length :]
        self._hold(piece)
        self._length -= len(piece)
        return None if self._length else behind

    def _feed_chunks(self, chunks: Chunks, data: bytes) -> bytes | None:
        behind = chunks.feed(data)
        for piece in chunks.pieces:
            self._hold(piece)
        chunks.pieces.clear()
        if chunks.total > self._most_bytes:
            self.request.body = Body(LengthReader(self._received, chunks.total))
            return self.give_up()
        if behind is not None:
            self.request.body = Body(LengthReader(self._received, chunks.total))
        return behind

    def _hold(self, piece: bytes) -> None:
        self._received.hold(piece)
        if self.on_disk:
            self.on_disk += len(piece)
            return
        self.size += len(piece)
        if self.size > self._most_held + MAX_HEAD:
            self._received.move_to_disk()
            self.size, self.on_disk = 0, self.size

    def give_up(self) -> bytes:
        """Take the request as whole without the rest of its body; the connection ends with the answer."""
        self._is_given_up = True
        self.request.force_close()
        return b""


class _Line(Enum):
    """What stands on a line between the chunks."""

    SIZE = auto()
    END_OF_CHUNK = auto()
    TRAILER = auto()


class Chunks:
    """Takes the framing off a chunked body (RFC 9112, section 7.1)."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        """What the chunks had in them; whoever takes it empties the list."""
        self.total = 0
        self._count = 0
        self._left = 0
        self._line = b""
        self._next = _Line.SIZE
        self._trailers = 0

    def feed(self, data: bytes) -> bytes | None:
        """Take what came; return what came behind the last chunk, and None until then. Raises `ParseException`."""
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self.pieces.append(piece)
                self.total += len(piece)
                self._left -= len(piece)
                at += len(piece)
                continue
            end = data.find(b"\n", at, at + MAX_LINE)
            self._line += data[at : end + 1] if end >= 0 else data[at : at + MAX_LINE]
            if len(self._line) >= MAX_LINE:
                raise InvalidChunkSize(self._line[:32])
            if end < 0:
                return None
            at = end + 1
            line, self._line = self._line, b""
            if self._ends_with(line):
                return data[at:]
        return None

    def _ends_with(self, line: bytes) -> bool:
        """Take a line between chunks; return whether it is the last one of the body."""
        if not line.endswith(b"\r\n"):
            raise InvalidChunkSize(line)
        line = line[:-2]
        if self._next is _Line.SIZE:
            self._left = self._size_of(line)
            self._next = _Line.END_OF_CHUNK if self._left else _Line.TRAILER
        elif self._next is _Line.END_OF_CHUNK:
            if line:
                raise ChunkMissingTerminator(line[:2])
            self._next = _Line.SIZE
        else:
            self._trailers += 1
            if self._trailers > MAX_TRAILERS:
                raise LimitRequestHeaders("limit request trailer section size")
            return not line
        return False

    def _size_of(self, line: bytes) -> int:
        digits, semicolon, extension = line.partition(b";")
        if semicolon:
            digits = digits.rstrip(b" \t")
            if not CHUNK_EXT_RE.fullmatch(b";" + extension):
                raise InvalidChunkExtension("invalid chunk extension")
        if not SIZE.fullmatch(digits):
            raise InvalidChunkSize(digits)
        self._count += 1
        if self._count > CHUNKS_AT_WILL and self.total < SMALLEST_CHUNK * self._count:
            raise InvalidChunkSize(b"the chunks are too small")
        return int(digits, 16)
