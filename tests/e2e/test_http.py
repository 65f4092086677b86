"""HTTP as it is spoken outside of test clients: on bare sockets against the real gunicorn."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import socket
from typing import Any

import openai
import pytest

from tests.support.server import Server

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def chat(script: dict[str, Any], **more: Any) -> bytes:
    messages = [{"role": "user", "content": json.dumps(script)}]
    return json.dumps({"model": "echo", "messages": messages, **more}).encode()


def post(*headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {CHAT} HTTP/{version}", "Host: test", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(body: bytes, size: int = 10) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def exchange(server: Server, sent: bytes) -> tuple[int, bytes]:
    """Send bytes as they are, read until the server closes, and give status and body."""
    with connect(server) as connection:
        connection.sendall(sent)
        received = connection.makefile("rb").read()
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


def test_a_chunked_body_is_read(server: Server) -> None:
    status, body = exchange(
        server, post("Transfer-Encoding: chunked", "Connection: close") + chunked(chat({"say": "é"}))
    )
    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == "é"


def test_a_malformed_chunk_is_the_clients_mistake(server: Server) -> None:
    status, body = exchange(
        server, post("Transfer-Encoding: chunked", "Connection: close") + b"zz\r\nhello\r\n0\r\n\r\n"
    )
    assert (status, code(body)) == (400, "invalid_http")


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (get("/" + "x" * 9000), 414),
        (get("/", "bad header"), 400),
        (get("/", "X-Long: " + "x" * 2**16), 431),
        (get("/", *(f"X-{number}: x" for number in range(1100))), 431),
        (get("/", *(f"X-{number}: {'x' * 990}" for number in range(70))), 431),
        (b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: rot13\r\n\r\n", 501),
    ],
)
def test_what_is_no_proper_http_is_told_in_json(server: Server, sent: bytes, expected: int) -> None:
    status, body = exchange(server, sent)
    assert (status, code(body)) == (expected, "invalid_http")


@pytest.mark.parametrize(
    "headers",
    [
        ["X-Long: " + "x" * 60_000],
        [f"X-{number}: {'x' * 590}" for number in range(100)],
        [f"X-{number}: x" for number in range(900)],
    ],
)
def test_headers_may_be_long_and_many(server: Server, headers: list[str]) -> None:
    assert exchange(server, get("/version", *headers))[0] == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("//v1/models", 200),
        ("/v1//models/", 200),
        ("/v1/models/echo/", 200),
        ("/v1/%6dodels/ech%6F", 200),
        ("/v1/models/org%2Fecho", 200),
        ("/v1/models/org/echo", 200),
        ("//", 200),
        ("http://test/v1/models", 200),
        ("http://test", 200),
        ("http://evil.example/v1/models", 403),
        ("//nothing//", 404),
    ],
)
def test_paths_as_clients_write_them(server: Server, path: str, status: int) -> None:
    answered, body = exchange(server, get(path))
    assert (answered, "error" in json.loads(body)) == (status, status != 200)


@pytest.mark.parametrize(
    "path", ["//v1/chat/completions", "/v1/chat/completions/", "http://test" + CHAT, "/v1//" + CHAT[4:]]
)
def test_posts_need_no_redirect(server: Server, path: str) -> None:
    body = chat({"say": "abc"})
    head = post(f"Content-Length: {len(body)}", "Connection: close").replace(CHAT.encode(), path.encode())
    status, answer = exchange(server, head + body)
    assert (status, json.loads(answer)["choices"][0]["message"]["content"]) == (200, "abc")


def test_a_chunked_body_may_have_trailers(server: Server) -> None:
    body = chunked(chat({"say": "abc"})).removesuffix(b"\r\n") + b"X-Checksum: 1\r\nX-Other: 2\r\n\r\n"
    sent = post("Transfer-Encoding: chunked", "Trailer: X-Checksum", "Connection: close") + body
    assert exchange(server, sent)[0] == 200


@pytest.mark.parametrize(
    "header",
    ["Accept: text/event-stream", "Accept: image/png, */*;q=0", "Accept-Encoding: br", "TE: trailers", "Range: x"],
)
def test_what_a_client_would_like_is_harmless(server: Server, header: str) -> None:
    body = chat({"say": "abc"})
    status, answer = exchange(server, post(f"Content-Length: {len(body)}", "Connection: close", header) + body)
    assert (status, json.loads(answer)["object"]) == (200, "chat.completion")


def test_deep_nesting_ends_no_process(server: Server) -> None:
    workers = server.web_workers()
    for body in (b"[" * 40_000, b'{"a":' * 40_000, b'{"model":"echo","a":' + b"[" * 9000 + b"]" * 9000 + b"}"):
        status, answer = exchange(server, post(f"Content-Length: {len(body)}", "Connection: close") + body)
        assert status == 400 and "deeply" in json.loads(answer)["error"]["message"]
    assert server.web_workers() == workers


def test_a_compressed_body_is_read(server: Server) -> None:
    body = gzip.compress(chat({"say": "abc"}))
    head = post(f"Content-Length: {len(body)}", "Content-Encoding: gzip", "Connection: close")
    assert exchange(server, head + body)[0] == 200


@pytest.mark.parametrize("length", ["Content-Length: 16777216", "Transfer-Encoding: chunked"])
def test_a_body_over_the_limit_is_refused(server: Server, length: str) -> None:
    with connect(server) as connection:
        connection.sendall(post(length))
        if "chunked" in length:
            connection.sendall(chunked(b" " * 2**24, 2**20).removesuffix(b"0\r\n\r\n"))
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, code(response.read())) == (413, "request_too_large")


def test_http_1_0_gets_its_stream_and_the_end_of_it(server: Server) -> None:
    body = chat({"say": "abc"}, stream=True)
    status, answer = exchange(server, post(f"Content-Length: {len(body)}", version="1.0") + body)
    assert status == 200
    assert answer.startswith(b"data: {") and answer.endswith(b"data: [DONE]\n\n")


def test_who_expects_100_continue_is_asked_for_the_body(server: Server) -> None:
    body = chat({"say": "abc"})
    with connect(server) as connection:
        connection.sendall(post(f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close"))
        received = connection.makefile("rb")
        assert received.readline().split()[1] == b"100"
        connection.sendall(body)
        assert b"200 OK" in received.read()


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        (f"POST {CHAT}", ["Content-Length: 16777216"], 413),
        ("POST /v1/nothing", ["Content-Length: 9"], 404),
        ("PUT /v1/models", ["Content-Length: 9"], 405),
        (f"POST {CHAT}", ["Content-Length: 9", "Content-Encoding: br"], 415),
        (f"POST {CHAT}", ["Content-Length: 9", "Origin: http://a.example"], 403),
        (f"POST {CHAT}", ["Transfer-Encoding: chunked", "Host: a.example"], 403),
    ],
)
def test_who_expects_100_continue_is_refused_without_the_body(
    server: Server, line: str, headers: list[str], status: int
) -> None:
    named = headers if any(header.startswith("Host") for header in headers) else ["Host: test", *headers]
    head = "\r\n".join([f"{line} HTTP/1.1", *named, "Expect: 100-continue", "", ""]).encode()
    answered, body = exchange(server, head)
    assert answered == status and "error" in json.loads(body)


def test_who_sends_a_large_file_is_asked_for_it_once(server: Server) -> None:
    begin = b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--B\r\n'
    begin += b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = begin + b"x" * (16 * 2**20) + b"\r\n--B--\r\n"
    lines = ["POST /v1/files HTTP/1.1", "Host: test", "Content-Type: multipart/form-data; boundary=B"]
    lines += [f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close"]
    with connect(server) as connection:
        received = connection.makefile("rb")
        connection.sendall("\r\n".join([*lines, "Content-Encoding: br", "", ""]).encode())
        assert received.readline().split()[1] == b"415"
    with connect(server) as connection:
        received = connection.makefile("rb")
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert received.readline().split()[1] == b"100"
        connection.sendall(body)
        assert received.readline() == b"\r\n" and received.readline().split()[1] == b"200"


def test_a_connection_lives_on_after_everything(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    steps: list[tuple[str, str, bytes | None, int]] = [
        ("POST", CHAT, chat({"say": "abc"}, stream=True), 200),
        ("POST", CHAT, chat({"say": "abcdef", "fail_after": 3}, stream=True), 200),
        ("POST", CHAT, b"{", 400),
        ("POST", "/nothing", b"x" * 1000, 404),
        ("PUT", CHAT, b"x" * 1000, 405),
        ("HEAD", "/v1/models", None, 200),
        ("OPTIONS", CHAT, None, 200),
        ("GET", "/v1//models/", None, 200),
        ("GET", "/", None, 200),
    ]
    sockets = set()
    for method, path, body, status in steps:
        connection.request(method, path, body, JSON)
        sockets.add(connection.sock)
        response = connection.getresponse()
        text = response.read()
        assert response.status == status, (method, path)
        if status == 200 and body is not None:
            is_whole = b"fail_after" not in body
            assert text.endswith(b"\n\n") and (b"data: [DONE]" in text) == is_whole
        assert method != "HEAD" or (not text and int(response.headers["Content-Length"]) > 0)
    assert len(sockets) == 1
    connection.close()


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/version"])
def test_head_is_answered_where_get_is(server: Server, path: str) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")


def test_many_streams_of_the_asynchronous_client_stay_apart(server: Server) -> None:
    async def stream(client: openai.AsyncOpenAI, text: str) -> str:
        script = json.dumps({"say": text})
        messages: Any = [{"role": "user", "content": script}]
        chunks = await client.chat.completions.create(model="echo", messages=messages, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    async def streams(texts: list[str]) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(stream(client, text) for text in texts))

    texts = [f"{number} é " * 10 for number in range(20)]
    assert asyncio.run(streams(texts)) == texts
