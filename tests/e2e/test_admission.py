"""How many requests are taken, and what those are told that are not: by places, by queues, and by keys."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from localai_flask.atomic_file import replace_text
from localai_flask.keys import file as key_file
from localai_flask.keys.file import Entry
from localai_flask.keys.keyring import digest
from tests.support.processes import wait_for
from tests.support.server import Server

STALL = json.dumps({"say": "abc", "stall_after": 1})
HELLO = json.dumps({"say": "hello"})
FAMILIES: dict[str, Any] = {
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/v1/completions": lambda text: {"prompt": text},
    "/v1/messages": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 99},
    "/v1/responses": lambda text: {"input": text, "store": False},
}
CHAT = "/v1/chat/completions"


def posted(path: str, text: str, **more: Any) -> tuple[str, bytes, dict[str, str]]:
    body = {"model": "narrow", "stream": True, **FAMILIES[path](text), **more}
    return path, json.dumps(body).encode(), {"Content-Type": "application/json"}


class Client:
    """One connection, on which a request is sent; its answer is read as far as a test wants."""

    def __init__(self, server: Server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def send(self, path: str, text: str, headers: dict[str, str] | None = None, **more: Any) -> Client:
        path, data, own = posted(path, text, **more)
        self.connection.request("POST", path, data, {**own, **(headers or {})})
        return self

    def answer(self) -> http.client.HTTPResponse:
        return self.connection.getresponse()

    def close(self) -> None:
        self.connection.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "narrow.yaml").write_text("name: narrow\nbackend: echo\noptions: [scripted, 'slots:4']\n")
    return folder


def test_without_a_place_every_family_is_refused_at_once_in_its_shape(models: Path, tmp_path: Path) -> None:
    settings = {"LOCALAI_WORKERS": "1", "LOCALAI_HTTP_THREADS": "2", "LOCALAI_LOAD_TO_MEMORY": "narrow"}
    with Server(models, tmp_path, **settings) as server, contextlib.ExitStack() as stack:
        busy = [Client(server).send(CHAT, STALL) for _ in range(2)]
        assert [client.answer().status for client in busy] == [200, 200]
        late = Client(server)
        stack.callback(late.close)
        for path in FAMILIES:  # all on one connection, which a refusal does not end
            answer = late.send(path, HELLO, {"X-Request-Id": "mine"}).answer()
            said = json.loads(answer.read())
            assert answer.status == 503 and answer.headers["Retry-After"] == "1"
            assert answer.headers["X-Request-Id"] == "mine"
            assert "is busy with 2 requests" in said["error"]["message"]
            kind = said["error"].get("code") or said["error"]["type"]
            assert kind == ("overloaded_error" if path == "/v1/messages" else "overloaded")
        assert all(server.status(path) == 200 for path in ("/healthz", "/readyz", "/v1/models", "/metrics"))
        page = server.post(CHAT, {"model": "narrow", "messages": []}, {"Origin": server.url})
        assert page[0] in (400, 503), "what a page of the web sends is answered by the application"
        for client in busy:
            client.close()
        wait_for(lambda: late.send(CHAT, HELLO).answer().read() and _status(late) == 200, 5, "the places are free")
        assert server.log().count(" 503 ") >= len(FAMILIES), "each refusal has its line in the log"


def _status(client: Client) -> int:
    answer = client.send(CHAT, HELLO).answer()
    answer.read()
    return answer.status


def test_pipelined_requests_are_refused_one_and_then_the_connection_ends(models: Path, tmp_path: Path) -> None:
    settings = {"LOCALAI_WORKERS": "1", "LOCALAI_HTTP_THREADS": "1", "LOCALAI_LOAD_TO_MEMORY": "narrow"}
    with Server(models, tmp_path, **settings) as server:
        busy = Client(server).send(CHAT, STALL)
        assert busy.answer().status == 200
        path, data, _ = posted(CHAT, HELLO)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall((head.encode() + data) * 2000)
            said = b""
            with contextlib.suppress(ConnectionResetError):
                while more := connection.recv(1 << 16):
                    said += more
        assert said.count(b"HTTP/1.1 503 ") >= 1 and b"HTTP/1.1 500" not in said
        busy.close()


def test_of_two_hundred_at_once_exactly_the_promised_number_is_taken(models: Path, tmp_path: Path) -> None:
    settings = {"LOCALAI_WORKERS": "2", "LOCALAI_QUEUE_SIZE": "16", "LOCALAI_LOAD_TO_MEMORY": "narrow"}
    with Server(models, tmp_path, **settings) as server:
        clients = [Client(server) for _ in range(200)]
        paths = list(FAMILIES)
        for number, client in enumerate(clients):
            client.send(paths[number % len(paths)], STALL)
        answers = [client.answer() for client in clients]
        assert Counter(answer.status for answer in answers) == {200: 4 + 16, 503: 180}
        refused = [answer for answer in answers if answer.status == 503]
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        assert all("already wait" in answer.read().decode() for answer in refused)
        for client in clients:
            client.close()
        wait_for(lambda: server.post(CHAT, json.loads(posted(CHAT, HELLO, stream=False)[1]))[0] == 200, 10, "free")


@pytest.fixture
def keyed(models: Path, tmp_path: Path) -> Any:
    file = tmp_path / "keys.yaml"
    entries = {"two": Entry(digest("two"), max_requests=2), "other": Entry(digest("other"))}
    replace_text(file, key_file.render(entries))
    with Server(models, tmp_path, LOCALAI_LOAD_TO_MEMORY="narrow", LOCALAI_API_KEYS_FILE=str(file)) as server:
        yield server


def test_a_key_has_no_more_at_work_than_it_may_in_all_web_workers(keyed: Server) -> None:
    clients = [Client(keyed).send(CHAT, STALL, {"x-api-key": "two"}) for _ in range(20)]
    answers = [client.answer() for client in clients]
    assert Counter(answer.status for answer in answers) == {200: 2, 429: 18}
    for path in FAMILIES:
        client = Client(keyed)
        answer = client.send(path, HELLO, {"x-api-key": "two"}).answer()
        error = json.loads(answer.read())["error"]
        assert answer.status == 429 and int(answer.headers["Retry-After"]) >= 1
        assert error.get("code") == "rate_limit_exceeded" or error["type"] == "rate_limit_error"
        assert "'two' has 2 requests at work" in error["message"]
        client.close()
        other = Client(keyed).send(path, HELLO, {"x-api-key": "other"})
        assert other.answer().read()
        other.close()
    for client in clients:
        client.close()
    wait_for(lambda: _once(keyed) == 200, 5, "the key's places are free")


def test_what_a_killed_web_worker_held_is_given_back(keyed: Server) -> None:
    clients = [Client(keyed).send(CHAT, STALL, {"x-api-key": "two"}) for _ in range(2)]
    assert [client.answer().status for client in clients] == [200, 200]
    assert _once(keyed) == 429
    for pid in keyed.web_workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: _once(keyed) == 200, 10, "the key's places are free")
    for client in clients:
        client.close()


def _once(server: Server) -> int:
    try:
        client = Client(server)
        answer = client.send(CHAT, HELLO, {"x-api-key": "two"}).answer()
        answer.read()
        client.close()
    except (OSError, http.client.HTTPException):
        return 0
    return answer.status
