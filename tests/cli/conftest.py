"""A server on loopback that answers as it is told, and notes what it was asked."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from localai_flask import backends
from localai_flask.cli import main
from tests.support import plugin

MODELS = {
    "data": [
        {"id": "small", "state": "cold", "capabilities": ["chat"], "context_length": 2048, "size": 5_000_000_000},
        {"id": "vectors", "state": "ready", "capabilities": ["embeddings"]},
        {"id": "warm", "state": "ready", "capabilities": ["chat"], "created": 1},
    ]
}
Answer = tuple[int, Any]


class FakeServer:
    """`answers` by method and path: a status with a value for JSON, or with the list of chunks that a POST streams."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[], Answer]] = {
            "GET /healthz": (200, {}),
            "GET /v1/models": (200, MODELS),
        }
        self.asked: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    @property
    def chats(self) -> list[Any]:
        return [body for what, body in self.asked if what == "POST /v1/chat/completions"]

    def say(self, *texts: str, **more: Any) -> None:
        """Have a chat completion stream these texts."""
        chunks: list[Any] = [{"choices": [{"delta": {"content": text}}]} for text in texts]
        usage = {"prompt_tokens": 7, "completion_tokens": len(texts)}
        self.answers["POST /v1/chat/completions"] = (200, [*chunks, {"choices": [], "usage": usage, **more}])

    def handler(fake: FakeServer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                what = f"{self.command} {self.path}"
                fake.asked.append((what, json.loads(body) if body else None))
                fake.headers.append(dict(self.headers))
                known = fake.answers.get(what, (404, {"error": {"message": f"There is no {what}."}}))
                status, value = known() if callable(known) else known
                content = (
                    b"".join(b"data: %s\r\n\r\n" % json.dumps(each).encode() for each in value)
                    if isinstance(value, list) and self.command == "POST"
                    else json.dumps(value).encode()
                )
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

            def address_string(self) -> str:
                return "test"

        return Handler


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    with ThreadingHTTPServer(("127.0.0.1", 0), fake.handler()) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("LOCALAI_URL", fake.url)
        yield from _served(fake, server)


@pytest.fixture
def unix_fake(tmp_path: Path) -> Iterator[FakeServer]:
    fake = FakeServer()
    path = tmp_path / "server.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), fake.handler()) as server:
        server.daemon_threads = True
        fake.url = f"unix:{path}"
        yield from _served(fake, server)


def _served(fake: FakeServer, server: socketserver.BaseServer) -> Iterator[FakeServer]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    server.shutdown()
    thread.join()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep what this machine is set to out of the tests."""
    for name in ("LOCALAI_URL", "LOCALAI_ADDRESS", "LOCALAI_API_KEY", "LOCALAI_MODELS_PATH", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCALAI_ADDRESS", "127.0.0.1:1")  # where nobody listens
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def engine_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a package with an engine."""
    folder = tmp_path / "packages"
    plugin.write(folder)
    monkeypatch.syspath_prepend(str(folder))
    backends._of_packages.cache_clear()
    yield folder
    backends._of_packages.cache_clear()


def run(*arguments: object, stdin: str = "") -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], input=stdin)
