"""Requests that arrive in pieces: where each ends, and what its body is."""

from __future__ import annotations

import tracemalloc

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import (
    ChunkMissingTerminator,
    InvalidChunkExtension,
    InvalidChunkSize,
    InvalidHeader,
    LimitRequestHeaders,
    ParseException,
)

from localai_flask.server.web.arrival import CHUNKS_AT_WILL, MAX_HEAD, Arrival, Chunks

NEXT = b"GET /next HTTP/1.1\r\n"
PLAIN = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BARE = b"GET / HTTP/1.0\r\n\r\n"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3\r\nhel\r\n2;name="a;b"\r\nlo\r\n0\r\nX-Trailer: \r\n\r\n'
)


def arrival(most_bytes: int = 1000) -> Arrival:
    return Arrival(Config(), ("127.0.0.1", 1), lambda request: most_bytes, 30.0)


@pytest.mark.parametrize(
    ("sent", "body"), [(PLAIN, b"hello"), (EMPTY, b""), (BARE, b""), (CHUNKED, b"hello"), (b"\r\n" + PLAIN, b"hello")]
)
def test_a_request_ends_where_it_ends_however_it_is_cut(sent: bytes, body: bytes) -> None:
    for step in (1, 2, 3, 7, len(sent)):
        coming = arrival()
        pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
        assert [coming.feed(piece) for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert coming.feed(pieces[-1]) == b""
        assert coming.request.body.read() == body
        assert not coming.request.should_close() or sent is BARE
    together = arrival()
    assert together.feed(sent + NEXT) == NEXT
    assert together.request.body.read() == body


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"GET / HTTP/1.1\n", InvalidHeader),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD, LimitRequestHeaders),
        (b"nonsense\r\n\r\n", ParseException),
        (CHUNKED.replace(b"3\r\n", b"zz\r\n"), InvalidChunkSize),
        (CHUNKED.replace(b"3\r\n", b"3\n"), InvalidChunkSize),
        (CHUNKED.replace(b"3\r\n", b"-3\r\n"), InvalidChunkSize),
        (CHUNKED.replace(b"3\r\n", b"3" + b" " * 2000), InvalidChunkSize),
        (CHUNKED.replace(b"hel\r\n", b"hello\r\n"), ChunkMissingTerminator),
        (CHUNKED.replace(b'"a;b"', b'"a;b'), InvalidChunkExtension),
        (CHUNKED.replace(b"X-Trailer: \r\n", b"X: x\r\n" * 200), LimitRequestHeaders),
    ],
)
def test_what_is_malformed_is_refused_before_it_ends(sent: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        arrival().feed(sent)


@pytest.mark.parametrize("head", [b"Content-Length: 1001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_body_that_is_too_long_is_not_waited_for(head: bytes) -> None:
    coming = arrival(most_bytes=1000)
    assert coming.feed(b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"400\r\n" + b"x" * 1002) == b""
    assert coming.request.should_close()


def test_tiny_chunks_without_end_are_refused() -> None:
    chunks = Chunks()
    with pytest.raises(InvalidChunkSize, match="too small"):
        for _ in range(CHUNKS_AT_WILL + 1):
            chunks.feed(b"1\r\nx\r\n")


def test_a_body_in_tiny_pieces_takes_little_more_memory_than_it_has_bytes() -> None:
    size = 200_000
    coming = arrival(most_bytes=size)
    coming.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    tracemalloc.start()
    for _ in range(size - 1):
        coming.feed(b"x")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * size


def test_a_deadline_moves_with_what_arrives() -> None:
    coming = arrival(most_bytes=10**6)
    assert not coming.has_begun
    coming.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    before = coming.deadline
    coming.feed(b"x" * 160_000)
    assert 9 < coming.deadline - before < 11


@pytest.mark.parametrize("length", [b"Content-Length: 300000", b"Transfer-Encoding: chunked"])
def test_what_is_too_large_for_memory_is_kept_on_disk(length: bytes) -> None:
    body = bytes(range(250)) * 1200
    sent = body if b"Content" in length else b"493e0\r\n" + body + b"\r\n0\r\n\r\n"
    coming = Arrival(Config(), ("127.0.0.1", 1), lambda request: 10**6, 30.0, most_held=1000)
    assert coming.feed(b"POST / HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n") is None
    assert coming.is_large == (b"Content" in length)
    pieces = [sent[at : at + 7000] for at in range(0, len(sent), 7000)]
    assert [coming.feed(piece) for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert coming.is_large and coming.size == 0 and coming.on_disk > 290_000
    assert coming.feed(pieces[-1] + NEXT) == NEXT
    assert coming.request.body.read() == body


def test_the_head_says_how_long_a_body_may_be() -> None:
    limits = {"/files": 100, "/others": 10}
    for path, limit in limits.items():
        coming = Arrival(Config(), ("127.0.0.1", 1), lambda request: limits[request.path], 30.0)
        assert coming.feed(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n".encode()) == (
            b"" if limit < 50 else None
        )
