"""A running server with the model that comes with it, asked over sockets."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.fuzz import wire
from tests.fuzz.stage import Answer, has_no_end
from tests.support.mutated_requests import Request
from tests.support.processes import resident_bytes
from tests.support.server import Server

DEMO = Path(__file__).parents[2] / "models" / "demo.gguf"
YAML = "name: {name}\nembeddings: true\ncontext_size: 512\nparameters: {{model: demo.gguf, max_tokens: 9}}\n"
PATIENCE_S = 30
SAFE = "/?&=%:;,@!$'()*+~._-"
CONTROLS = dict.fromkeys((*range(32), 127), " ")
"""What would end a header, and begin another one."""
LOOKS = 50
"""After this many requests the processes are counted."""


class Live:
    """Asks on one connection, as long as the server keeps it."""

    def __init__(self, folder: Path):
        models = folder / "models"
        models.mkdir()
        (models / "demo.gguf").symlink_to(DEMO)
        for each in ("tiny", "other"):
            (models / f"{each}.yaml").write_text(YAML.format(name=each))
        settings = {
            "LOCALAI_LOAD_TO_MEMORY": "tiny",
            "LOCALAI_DEFAULT_MODEL": "tiny",
            "LOCALAI_OFFLINE": "true",
            "LOCALAI_GALLERIES": wire.BUILTIN,
        }
        self._server = Server(models, folder, **settings).__enter__()
        self._connection = self._connect()
        self._processes = self._running()
        self._asked = 0
        self._engine_died = False

    def ask(self, request: Request) -> Answer:
        try:
            answer = self._ask(request)
            self._engine_died = b"model_worker_died" in answer.body
            return answer
        except (OSError, http.client.HTTPException):
            self._connection = self._connect()
            raise

    def faults(self) -> Iterator[str]:
        """Yield whether a process has died."""
        if self._engine_died:
            yield "the engine died: " + self._server.log()[-2000:]
        self._asked += 1
        if self._asked % LOOKS == 0:
            running = self._running()
            if not set(running) >= set(self._processes):
                yield "a process died within the last requests: " + self._server.log()[-300:]
            self._processes = running

    def held_bytes(self) -> int:
        return sum(map(resident_bytes, self._server.web_workers()))

    def close(self) -> None:
        self._connection.close()
        self._server.__exit__(None)

    def _running(self) -> list[int]:
        """Return the processes that no request may end; models are loaded and unloaded by some."""
        return [*self._server.web_workers(), *self._server.managers()]

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE_S)

    def _ask(self, request: Request) -> Answer:
        sent = {name.lower(): _clean(value) for name, value in request.headers.items()}
        connection = self._connection
        connection.putrequest(
            request.method, quote(request.path, safe=SAFE), skip_host="host" in sent, skip_accept_encoding=True
        )
        for name, value in sent.items():
            connection.putheader(name, value)
        if request.body or request.method not in ("GET", "HEAD", "OPTIONS"):
            connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body or None)
        response = connection.getresponse()
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        if not has_no_end(request.path):
            return Answer(response.status, kind, response.read())
        piece = response.read1() if request.method != "HEAD" else b""
        self._connection = self._connect()
        return Answer(response.status, kind, piece)


def _clean(value: str) -> bytes:
    return value.translate(CONTROLS).encode("utf-8", "replace")
