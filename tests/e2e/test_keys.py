"""Keys of a file on a running server: the official clients with them, and changes that drop no request."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from click.testing import CliRunner

from localai_flask.cli import main
from tests.support.processes import wait_for
from tests.support.server import Server

HELLO = [{"role": "user", "content": "hello"}]


def run(file: Path, *words: str) -> str:
    done = CliRunner().invoke(main, ["keys", *words, "--file", str(file)])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def alice(file: Path) -> str:
    return run(file, "add", "alice", "--models", "ech*")


@pytest.fixture
def server(models_path: Path, tmp_path: Path, file: Path, alice: str) -> Iterator[Server]:
    keys = {"LOCALAI_API_KEYS_FILE": str(file), "LOCALAI_LOAD_TO_MEMORY": "echo"}
    with Server(models_path, tmp_path, **keys) as server:
        yield server


def openai_client(server: Server, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def anthropic_client(server: Server, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0)


def test_the_official_clients_send_keys_that_count(server: Server, alice: str) -> None:
    with openai_client(server, alice) as client:
        assert [model.id for model in client.models.list()] == ["echo"]
        made = client.chat.completions.create(model="echo", messages=HELLO)  # type: ignore[arg-type]
        assert made.choices[0].message.content == "hello"
        with pytest.raises(openai.NotFoundError, match="There is no model 'demo'"):
            client.chat.completions.create(model="demo", messages=HELLO)  # type: ignore[arg-type]
        with pytest.raises(openai.PermissionDeniedError, match="administrator"):
            client.get("/system", cast_to=object)
    with anthropic_client(server, alice) as client:
        message = client.messages.create(model="echo", max_tokens=20, messages=HELLO)  # type: ignore[arg-type]
        assert message.content[0].text == "hello"  # type: ignore[union-attr]
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(model="demo", max_tokens=20, messages=HELLO)  # type: ignore[arg-type]
    with openai_client(server, "sk-wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    with anthropic_client(server, "sk-wrong") as client, pytest.raises(anthropic.AuthenticationError):
        client.messages.create(model="echo", max_tokens=20, messages=HELLO)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_who_expects_100_continue_hears_of_the_key_before_the_body_is_sent(
    server: Server, alice: str, path: str
) -> None:
    for key, expected in ((alice, b"100"), ("sk-wrong", b"401")):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            headers = [
                f"POST {path} HTTP/1.1",
                "Host: x",
                "Content-Length: 99",
                "Expect: 100-continue",
                f"api-key: {key}",
            ]
            connection.sendall("\r\n".join([*headers, "", ""]).encode())
            received = connection.makefile("rb")
            assert received.readline().split()[1] == expected
            if expected == b"401":
                error = json.loads(received.read().partition(b"\r\n\r\n")[2])["error"]
                assert error["type"] == ("authentication_error" if path == "/v1/messages" else "invalid_request_error")


def test_changes_count_at_once_and_drop_no_request(server: Server, file: Path, alice: str) -> None:
    answered, failed, stop = [], [], threading.Event()

    def ask_on() -> None:
        with openai_client(server, alice) as client:
            while not stop.is_set():
                try:
                    answered.append(client.completions.create(model="echo", prompt="a").choices[0].text)
                except openai.OpenAIError as error:
                    failed.append(error)

    thread = threading.Thread(target=ask_on)
    thread.start()
    before = server.web_workers()
    for number in range(5):
        bob = run(file, "add", f"bob{number}")
        assert [status(server, bob) for _ in range(6)] == [200] * 6
        run(file, "remove", f"bob{number}")
        assert [status(server, bob) for _ in range(6)] == [401] * 6
    good = file.read_text()
    file.write_text("alice: [\n")
    assert [status(server, alice) for _ in range(6)] == [200] * 6
    wait_for(lambda: status(server, alice) and "keys stay as they were" in server.log(), 10, "the fault told")
    assert [status(server, alice) for _ in range(6)] == [200] * 6
    file.write_text(good)
    stop.set()
    thread.join()
    assert failed == [] and len(answered) > 5 and server.web_workers() == before


def test_a_web_worker_that_starts_beside_a_broken_file_has_the_keys_before(
    server: Server, file: Path, alice: str
) -> None:
    assert [status(server, alice) for _ in range(6)] == [200] * 6
    file.write_text("alice: [\n")
    killed = server.web_workers()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: set(server.web_workers()).isdisjoint(killed) and status(server, alice) == 200, 20, "new ones")
    assert [status(server, alice) for _ in range(6)] == [200] * 6
    assert [status(server, "sk-wrong") for _ in range(3)] == [401] * 3


def status(server: Server, key: str) -> int:
    """The status of a listing with a key, over a connection of its own, which any web worker may take."""
    with openai_client(server, key) as client:
        try:
            client.models.list()
        except openai.APIStatusError as error:
            return error.status_code
        except openai.APIConnectionError:
            return 0
    return 200


def _upload(server: Server, key: str, size: int, chunked: bool = False) -> tuple[int, dict[str, Any]]:
    """Upload a file as curl does that is not told to wait for `100 Continue`."""
    head = b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    head += b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + random.Random(7).randbytes(size) + b"\r\n--B--\r\n"
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "multipart/form-data; boundary=B"}
    sent = iter(body[at : at + 2**16] for at in range(0, len(body), 2**16)) if chunked else body
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", "/v1/files", sent, headers, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_may_be_larger_than_other_bodies(server: Server, alice: str, chunked: bool) -> None:
    size = 20 * 2**20
    status, file = _upload(server, alice, size, chunked)
    assert (status, file.get("bytes")) == (200, size), file
    with openai_client(server, alice) as client:
        assert client.files.content(file["id"]).read() == random.Random(7).randbytes(size)


def test_a_large_file_is_not_taken_without_a_key(server: Server) -> None:
    head = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stranger:
        stranger.sendall(head)
        assert stranger.recv(100).startswith(b"HTTP/1.1 401 ")


def test_one_keys_slow_downloads_keep_nobody_out(server: Server, file: Path, alice: str) -> None:
    bob = run(file, "add", "bob")
    status, stored = _upload(server, alice, 12 * 2**20)
    assert status == 200
    request = f"GET /v1/files/{stored['id']}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(900):  # more than all web workers have threads
            slow = stack.enter_context(contextlib.closing(socket.socket()))
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            slow.sendall(request.encode())
        time.sleep(2)  # until there are as many as there may be
        with openai_client(server, bob) as client:
            for _ in range(10):
                assert client.with_options(timeout=20).models.list().data
                made = client.with_options(timeout=20).chat.completions.create(model="echo", messages=HELLO)  # type: ignore[arg-type]
                assert made.choices[0].message.content == "hello"
                assert server.status("/healthz") == server.status("/readyz") == 200
