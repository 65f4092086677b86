"""Compressed bodies: which codings are taken, and how much may come out of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import flask
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from localai_flask.errors import InvalidRequest

GZIP, ZLIB, RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
"""What zlib reads: a file of gzip's, its own format, and one without a header."""
TAKEN = ("gzip", "deflate")
BLOCK = 64 * 1024
MOST_MEMBERS = 1000
"""Files of gzip's may follow one another (RFC 1952, section 2.2), as those that compress in parallel write them."""
ALIASES = {"x-gzip": "gzip"}


class CodingNotTaken(UnsupportedMediaType):
    """A coding that is not read here; the answer's header names those that are (RFC 9110, section 15.5.16)."""

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        return [*super().get_headers(*args, **kwargs), ("Accept-Encoding", ", ".join(TAKEN))]


def coding_of(request: flask.Request) -> str:
    """Return the coding of a request's body, "" for none; raise `CodingNotTaken`."""
    said = request.headers.get("Content-Encoding", "").strip().lower()
    coding = ALIASES.get(said, "" if said == "identity" else said)
    if coding and coding not in TAKEN:
        raise CodingNotTaken(
            f"The body has the encoding {said[:100]!r}, which this server does not read; send it plain, or with "
            f"{' or '.join(TAKEN)}."
        )
    return coding


def decompress(body: bytes, coding: str, most: int) -> bytes:
    """Return what is in a compressed body; raise `InvalidRequest`, or HTTP's own error if it is more than `most`."""
    pieces, size = [], 0
    try:
        for piece in _pieces(body, coding, most + 1):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise RequestEntityTooLarge
    except zlib.error as error:
        raise InvalidRequest(f"The body is not what its `Content-Encoding: {coding}` says: {error}.") from error
    return b"".join(pieces)


def _pieces(body: bytes, coding: str, most: int) -> Iterator[bytes]:
    """Decompress block after block, to at most `most` bytes each; whoever has enough asks for no more."""
    at = 0
    for _ in range(MOST_MEMBERS):
        stream = zlib.decompressobj(GZIP if coding == "gzip" else ZLIB if _has_zlib_header(body) else RAW)
        while not stream.eof:
            block = body[at : at + BLOCK]
            if not block:
                raise zlib.error("its end is missing")
            yield stream.decompress(block, most)
            at += len(block) - len(stream.unused_data)
        if at == len(body):
            return
        if coding != "gzip":
            break
    raise zlib.error("something follows after its end")


def _has_zlib_header(body: bytes) -> bool:
    """Return whether a body is what RFC 9110 calls deflate; many clients leave the header away."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
