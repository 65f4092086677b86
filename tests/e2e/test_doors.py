"""What strangers do to the doors: half-sent requests, more connections than descriptors, answers that nobody reads."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import wait_for
from tests.support.server import Server

CHAT = "/v1/chat/completions"
MANY = 800
"""More than all web workers have threads."""
HALVES = {
    "nothing": b"",
    "half a head": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
    "half a chunk": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
    "half a body that nobody wants": b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
    "a body that is too long": b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n{",
    "no goodbye": b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}


def chat(say: str, *, model: str = "echo", stream: bool = False, **script: object) -> dict[str, Any]:
    messages = [{"role": "user", "content": json.dumps({"say": say, **script})}]
    return {"model": model, "stream": stream, "messages": messages}


def post(body: dict[str, Any], path: str = CHAT) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def probe(server: Server) -> list[float]:
    """The seconds that probes and lists take, which must all be answered."""
    took = []
    for path in ("/healthz", "/readyz", "/", "/v1/models") * 5:
        begun = time.monotonic()
        assert server.status(path) == 200, path
        took.append(time.monotonic() - begun)
    return took


@pytest.mark.parametrize("half", list(HALVES))
def test_clients_that_send_half_of_a_request_hold_up_nobody(server: Server, half: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MANY):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            slow.sendall(HALVES[half])
        assert max(probe(server)) < 2  # without the poller's reading it takes five seconds, or for ever


@pytest.fixture(scope="module")
def impatient(models_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One web worker with one place, two hundred descriptors, and no patience."""
    environment = {"LOCALAI_WORKERS": "1", "LOCALAI_HTTP_THREADS": "1", "LOCALAI_CLIENT_TIMEOUT": "1"}
    scratch = tmp_path_factory.mktemp("impatient")
    with Server(models_path, scratch, descriptors=200, LOCALAI_LOAD_TO_MEMORY="echo", **environment) as server:
        yield server


def test_more_idle_connections_than_descriptors_leave_room_for_probes(impatient: Server) -> None:
    workers = impatient.web_workers()
    assert "Max open files            200 " in Path(f"/proc/{workers[0]}/limits").read_text()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            for _ in range(150):
                stack.enter_context(socket.create_connection(("127.0.0.1", impatient.port)))
            assert max(probe(impatient)) < 2
    assert impatient.web_workers() == workers


@pytest.mark.parametrize("half", ["half a head", "half a body", "half a chunk"])
def test_a_request_that_does_not_go_on_is_told_so_and_closed(impatient: Server, half: str) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as slow:
        slow.sendall(HALVES[half])
        head, _, body = slow.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ") and json.loads(body)["error"]["code"] == "request_timeout"


def test_two_requests_in_one_piece_are_answered_one_after_the_other(impatient: Server) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as connection:
        last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(post(chat("first")) + post(chat("second")) + last)
        answers = connection.makefile("rb").read()
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.index(b'"first"') < answers.index(b'"second"') < answers.index(b'"ok"')


def test_a_stream_that_nobody_reads_gives_its_place_and_its_slot_back(impatient: Server) -> None:
    with contextlib.closing(socket.socket()) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", impatient.port))
        deaf.sendall(post(chat("x" * 150_000, model="roomy", stream=True)))
        assert deaf.recv(10)
        assert impatient.post(CHAT, chat("hi"))[0] == 503
        wait_for(lambda: impatient.post(CHAT, chat("hi", model="roomy"))[0] == 200, 15, "place and slot are free")


def test_answers_that_nobody_reads_hold_up_no_probe(impatient: Server) -> None:
    begging = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            deaf = stack.enter_context(contextlib.closing(socket.socket()))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", impatient.port))
            threading.Thread(target=_send, args=(deaf, begging), daemon=True).start()
        assert max(probe(impatient)) < 2


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


class TestHalfClosed:
    """A client that says it sends nothing more, as `nc -N` does, and reads on."""

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("path", [CHAT, "/v1/embeddings"])
    def test_it_gets_its_answer(self, server: Server, path: str, stream: bool) -> None:
        request = chat("abc", stream=stream, prefill_ms=1500, pace_ms=500)
        if path != CHAT:
            request = {"model": "echo", "input": "hi"}
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(post(request, path))
            connection.shutdown(socket.SHUT_WR)
            head, _, answer = without_interim(connection.makefile("rb").read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert path != CHAT or answer.rstrip().endswith(b"[DONE]\n\n\r\n0" if stream else b"}")

    @pytest.mark.parametrize("stream", [True, False])
    def test_it_may_leave_later(self, server: Server, stream: bool) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(post(chat("abc", model="single", stream=stream, stall_after=1)))
            connection.shutdown(socket.SHUT_WR)
            time.sleep(1)
        assert server.post(CHAT, chat("x", model="single"), timeout=10)[0] == 200

    def test_of_http_1_0_it_is_taken_for_one_that_has_left(self, server: Server) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(post(chat("abc", stall_after=1)).replace(b"HTTP/1.1", b"HTTP/1.0"))
            connection.shutdown(socket.SHUT_WR)
            assert b" 499 " in connection.makefile("rb").readline()


def without_interim(received: bytes) -> bytes:
    while received.startswith(b"HTTP/1.1 100 "):
        received = received.partition(b"\r\n\r\n")[2]
    return received
