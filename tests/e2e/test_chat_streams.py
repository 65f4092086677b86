"""Chat streams outlive a page that is reloaded, and whatever process is killed meanwhile."""

import http.client
import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.processes import wait_for
from tests.support.server import Server, Start

LONG: Any = {"say": "x" * 100, "pace_ms": 50}
SILENT_FIRST: Any = {"say": "at last", "prefill_ms": 3000}
SLOWNESS_S = 30
CONVERSATION = "talk::echo"


@contextmanager
def begun(server: Server, how: Any, conversation: str = CONVERSATION) -> Iterator[socket.socket]:
    """A page's connection on which it has asked for a stream."""
    body = json.dumps({"model": "echo", "stream": True, "messages": [{"role": "user", "content": json.dumps(how)}]})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Conversation-Id: {conversation}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=SLOWNESS_S) as connection:
        connection.sendall((head + body).encode())
        yield connection


def read_until(connection: socket.socket, part: bytes) -> bytes:
    read = b""
    while part not in read:
        piece = connection.recv(65536)
        assert piece, f"the stream has ended without {part!r}: {read!r}"
        read += piece
    return read


def resume(server: Server, begin: int = 0, conversation: str = CONVERSATION) -> bytes:
    query = urllib.parse.urlencode({"conv_id": conversation, "from": begin})
    with urllib.request.urlopen(f"{server.url}/v1/stream?{query}", timeout=SLOWNESS_S) as answer:
        body: bytes = answer.read()
        return body


def state(server: Server) -> Any:
    status, found = server.post("/v1/streams/lookup", {"conversation_ids": ["talk"]})
    assert status == 200
    return found[0] if found else None


def text_of(stream: bytes) -> str:
    data = [line.removeprefix("data: ") for line in stream.decode().splitlines() if line.startswith("data: {")]
    return "".join(json.loads(each)["choices"][0]["delta"].get("content") or "" for each in data)


def test_a_page_is_reloaded_and_all_web_workers_are_killed(start: Start) -> None:
    server = start()
    with begun(server, LONG) as page:
        read_until(page, b'"content":"x"')
    whole: list[bytes] = []
    listener = threading.Thread(target=lambda: whole.append(resume(server)))
    before = server.web_workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(set(server.web_workers()) - set(before)) == 2, SLOWNESS_S)
    assert not state(server)["is_done"], "the run was to outlive them"
    listener.start()
    listener.join()
    assert text_of(whole[0]) == "x" * 100 and whole[0].endswith(b"data: [DONE]\n\n")
    for begin in (1, len(whole[0]) // 2):
        assert resume(server, begin) == whole[0][begin:]
    ended = state(server)
    assert ended["is_done"] and ended["total_bytes"] == len(whole[0])


def test_a_web_worker_leaves_while_a_client_listens(start: Start) -> None:
    """What it has read is followed by what it reads elsewhere, so nothing but the stream may have been sent."""
    server = start(LOCALAI_GRACEFUL_TIMEOUT="1")
    body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": json.dumps(LONG)}]}
    asked = urllib.request.Request(
        f"{server.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "X-Conversation-Id": CONVERSATION},
    )
    with urllib.request.urlopen(asked, timeout=SLOWNESS_S) as answer:
        read = answer.read1()
        for pid in server.web_workers():
            os.kill(pid, signal.SIGTERM)
        with pytest.raises(http.client.IncompleteRead):
            while True:
                piece = answer.read1()
                assert piece, "the stream has ended as if it were whole"
                read += piece
    rest = resume(server, len(read))
    assert text_of(read + rest) == "x" * 100 and resume(server) == read + rest


def test_offsets_count_what_a_client_has_read(start: Start) -> None:
    """The model is silent at first, and the beats that tell so are read again too."""
    server = start()
    with begun(server, SILENT_FIRST) as page:
        head, _, body = read_until(page, b": ping").partition(b"\r\n\r\n")
        assert b"text/event-stream" in head
        size, _, piece = body.partition(b"\r\n")
        piece = piece[: int(size, 16)]
    rest = resume(server, len(piece))
    assert resume(server) == piece + rest and text_of(rest) == "at last"


def test_the_background_process_is_killed(start: Start) -> None:
    server = start()
    with begun(server, LONG) as seen, begun(server, SILENT_FIRST, "unseen") as unseen:
        read = read_until(seen, b'"content":"x"')
        (pid,) = server.background_workers()
        os.kill(pid, signal.SIGKILL)
        read += read_until(seen, b"ended before it was finished")
        read_until(unseen, b"[DONE]")
    assert b"[DONE]" not in (broken_off := resume(server)) and b"ended before it was finished" in broken_off
    assert text_of(resume(server, conversation="unseen")) == "at last", "it was begun again"


def test_a_model_worker_is_killed(start: Start) -> None:
    server = start()
    with begun(server, LONG) as page:
        read_until(page, b'"content":"x"')
        (pid,) = server.model_workers()
        os.kill(pid, signal.SIGKILL)
        read_until(page, b"model_worker_died")
    assert b"[DONE]" not in (broken_off := resume(server)) and b"model_worker_died" in broken_off


def test_it_is_stopped(start: Start) -> None:
    server = start()
    with begun(server, {**LONG, "say": "x" * 2000}) as page:
        read_until(page, b'"content":"x"')
    request = urllib.request.Request(f"{server.url}/v1/stream?conv_id={CONVERSATION}", method="DELETE")
    with urllib.request.urlopen(request, timeout=SLOWNESS_S) as answer:
        assert answer.status == 204
    with pytest.raises(urllib.error.HTTPError, match="404"):
        resume(server)

    def running() -> list[Any]:
        with urllib.request.urlopen(f"{server.url}/requests", timeout=SLOWNESS_S) as answer:
            return [each for each in json.load(answer)["data"] if each["model"]]

    wait_for(lambda: not running(), 10, "the model has stopped")


def test_the_server_is_killed_and_started(start: Start) -> None:
    first = start()
    with begun(first, {**LONG, "say": "x" * 2000}) as page:
        read_until(page, b'"content":"x"')
    assert first.process is not None
    first.process.kill()
    first.process.wait(40)
    wait_for(lambda: not first.background_workers(), SLOWNESS_S, "the background process is gone")
    second = start()
    assert b"ended before it was finished" in resume(second)
