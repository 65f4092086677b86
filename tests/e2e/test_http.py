"""HTTP as it is spoken outside of test clients: on bare sockets against the real gunicorn, and behind a real nginx."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.processes import wait_for
from tests.support.server import Server, free_port

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
SILENCE_S = 2
"""How long the nginx under test waits for the server to say something."""


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


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: test\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: test\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: test\r\n" + b"".join(b"X-%d: x\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: rot13\r\n\r\n", 501),
    ],
)
def test_what_is_no_proper_http_is_told_in_json(server: Server, sent: bytes, expected: int) -> None:
    status, body = exchange(server, sent)
    assert (status, code(body)) == (expected, "invalid_http")


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
        ("GET", "/v1//models", None, 308),
        ("GET", "/", None, 200),
    ]
    sockets = set()
    for method, path, body, status in steps:
        connection.request(method, path, body, JSON)
        sockets.add(connection.sock)
        response = connection.getresponse()
        text = response.read()
        assert response.status == status, (method, path)
        assert b"stream" not in (body or b"") or text.endswith(b"data: [DONE]\n\n")
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


@pytest.fixture(scope="module")
def nginxes(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Ports of nginx in front of the server: with the shipped server block, and with the least that one can write.

    The latter speaks HTTP/1.0 to the server, and collects its answers unless told not to by their headers.
    """
    if NGINX is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    ports = {"shipped": free_port(), "least": free_port()}
    shipped = (Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf").read_text()
    changes = {
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{server.port};",
        "listen 80;": f"listen 127.0.0.1:{ports['shipped']};",
        "proxy_read_timeout 300s;": f"proxy_read_timeout {SILENCE_S}s;",
    }
    for before, after in changes.items():
        assert before in shipped
        shipped = shipped.replace(before, after)
    least = f"server {{ listen 127.0.0.1:{ports['least']}; location / {{ proxy_pass http://localai_flask; }} }}"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {places}\n{shipped}\n{least}\n}}\n"
    )
    process = subprocess.Popen([NGINX, "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"])
    try:
        wait_for(lambda: process.poll() is not None or all(map(is_listening, ports.values())), 10, "nginx is ready")
        assert process.poll() is None, (folder / "error.log").read_text()
        yield ports
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def nginx(nginxes: dict[str, int]) -> int:
    return nginxes["shipped"]


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stream_through(port: int, script: dict[str, Any]) -> list[tuple[float, Any]]:
    """The stream's events (None: a comment), each with the seconds after the request in which it came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    begun = time.monotonic()
    connection.request("POST", CHAT, chat(script, stream=True), JSON)
    response = connection.getresponse()
    assert response.status == 200 and response.headers["Content-Type"].startswith("text/event-stream")
    lines = ((time.monotonic() - begun, line.strip()) for line in response)
    events = [(at, line.removeprefix(b"data: ")) for at, line in lines if line]
    connection.close()
    assert events[-1][1] == b"[DONE]"
    return [(at, None if line.startswith(b":") else json.loads(line)) for at, line in events[:-1]]


def contents(events: list[tuple[float, Any]]) -> list[tuple[float, str]]:
    deltas = [(at, event["choices"][0]["delta"]) for at, event in events if event is not None]
    return [(at, delta["content"]) for at, delta in deltas if delta.get("content")]


@pytest.mark.parametrize("block", ["shipped", "least"])
def test_nginx_passes_each_event_on_at_once(nginxes: dict[str, int], block: str) -> None:
    lags = []
    for _ in range(3):  # a busy machine may be late once; a proxy that collects events is late always
        came = contents(stream_through(nginxes[block], {"say": "abcdef", "prefill_ms": 100, "pace_ms": 100}))
        assert [text for _, text in came] == list("abcdef")
        lags.append(came[0][0] - 0.1)
        if lags[-1] < 0.2:
            assert came[-1][0] - came[0][0] > 0.4
            return
    pytest.fail(f"the first event came {lags} s after its token")


def test_a_long_prefill_outlives_the_patience_of_nginx(nginx: int) -> None:
    events = stream_through(nginx, {"say": "late", "prefill_ms": 1000 * SILENCE_S + 1000})
    assert "".join(text for _, text in contents(events)) == "late"
    assert sum(event is None for _, event in events) >= 3


def test_a_client_that_leaves_nginx_leaves_the_model(server: Server, nginx: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", nginx, timeout=20)
    messages = [{"role": "user", "content": json.dumps({"say": "x" * 4000, "pace_ms": 100})}]
    body = json.dumps({"model": "single", "messages": messages, "stream": True})
    connection.request("POST", CHAT, body, JSON)
    response = connection.getresponse()
    assert response.readline().startswith(b"data: ")
    response.close()
    connection.close()
    begun = time.monotonic()
    # The model has one slot, and the abandoned answer would hold it for minutes.
    status, _ = server.post(CHAT, {"model": "single", "messages": [{"role": "user", "content": "hi"}]})
    assert status == 200
    assert time.monotonic() - begun < 5


def test_a_body_that_nginx_has_to_store_arrives_whole(nginx: int) -> None:
    text = "é" * 500
    connection = http.client.HTTPConnection("127.0.0.1", nginx, timeout=20)
    connection.request("POST", CHAT, chat({"say": text}, user="x" * 100_000), JSON)
    answer = json.load(connection.getresponse())
    connection.close()
    assert answer["choices"][0]["message"]["content"] == text
