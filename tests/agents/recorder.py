"""What a program sends and gets: a proxy in front of the server that keeps both."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LONGEST = 80
"""Longer texts of recorded requests are cut."""
ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{24,}"
"""What names a machine, a session or a call; such ids are numbered."""
UNUSED = ("connection", "transfer-encoding", "content-length")


@dataclass
class Exchange:
    """One request and its answer; `first_s` is the time to the first piece that is more than a frame's beginning."""

    method: str
    path: str
    body: bytes
    status: int = 0
    left_out: str = ""
    text: str = ""
    first_s: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def is_question(self) -> bool:
        return self.method == "POST" and self.status == 200

    def take(self, piece: bytes) -> None:
        """Note a piece of the answer."""
        self.text += piece.decode("utf-8", "replace")
        if self.first_s is None and re.search(SAID, self.text):
            self.first_s = time.monotonic() - self.started


SAID = r'output_text\.delta|"content_block_delta"|arguments\.delta|"content": ?"[^"]|"tool_calls": ?\['
"""What shows in an answer that the model has begun to speak."""


class Recorder(ThreadingHTTPServer):
    """A context manager: the proxy serves while it is open, and `exchanges` has what went through it."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(self, target: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.exchanges: list[Exchange] = []

    def __enter__(self) -> Recorder:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def save(self, path: Path, hidden: list[str]) -> None:
        """Write the bodies of the questions, with long texts cut and the hidden names replaced."""
        kept = [{"path": each.path, "body": json.loads(each.body)} for each in self.exchanges if each.is_question]
        text = json.dumps(kept)
        for name in hidden:
            text = text.replace(name, "/home/user")
        text = json.dumps(shortened(json.loads(text)), indent=1, ensure_ascii=False)
        ids = dict.fromkeys(re.findall(ID, text))
        for number, id in enumerate(ids):
            text = text.replace(id, f"{number:0{len(id)}}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def shortened(value: Any) -> Any:
    """Return a body with its long texts cut, but for the arguments of calls."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[:LONGEST] + " …"
    if isinstance(value, dict):
        return {key: each if key == "arguments" else shortened(each) for key, each in value.items()}
    return [shortened(each) for each in value] if isinstance(value, list) else value


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def log_message(self, *_: object) -> None:
        """Log nothing: the server has a log."""

    def _pass_on(self) -> None:
        exchange = Exchange(self.command, self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self.server.exchanges.append(exchange)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        headers["Accept-Encoding"] = "identity"
        upstream = http.client.HTTPConnection(self.server.target, timeout=600)
        try:
            upstream.request(self.command, self.path, exchange.body, headers)
            self._give_back(upstream.getresponse(), exchange)
        except OSError:
            pass  # the program has left
        finally:
            upstream.close()
            self.close_connection = True

    def _give_back(self, answer: http.client.HTTPResponse, exchange: Exchange) -> None:
        exchange.status, exchange.left_out = answer.status, answer.headers.get("X-Tools-Left-Out", "")
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in UNUSED:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while piece := answer.read1(1 << 16):
            exchange.take(piece)
            self.wfile.write(piece)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass_on
