"""Keys of a file on a running server: the official clients with them, and changes that drop no request."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

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
