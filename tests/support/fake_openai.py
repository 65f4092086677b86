"""A server that speaks OpenAI's API as it was told to, and remembers what it was asked."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KEY = "sk-elsewhere"


class FakeOpenAI:
    """`events` are what a stream says next; an answer of `answers` comes instead, by path, as (status, body)."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = [{"id": "far", "owned_by": "somebody"}]
        self.events: list[Any] = []
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers["Authorization"] != f"Bearer {KEY}":
                    self._answer(401, {"error": {"message": f"wrong key {self.headers['Authorization']}"}})
                else:
                    self._answer(*outer.answers.get(self.path, (200, {"data": outer.models})))

            def do_POST(self) -> None:
                outer.asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                if self.path in outer.answers:
                    self._answer(*outer.answers[self.path])
                    return
                self.send_response(200)
                self.end_headers()
                for event in outer.events:
                    self.wfile.write(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
                if outer.events and outer.events[-1] != "cut":
                    self.wfile.write(b"data: [DONE]\n\n")

            def _answer(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def says(self, *deltas: dict[str, Any], reason: str = "stop", usage: dict[str, Any] | None = None) -> None:
        """Have the next chats say these deltas."""
        self.events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        self.events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        self.events.append({"choices": [], "usage": usage or {"prompt_tokens": 9, "completion_tokens": 3}})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
