"""A web server on loopback that sends files and can be told to misbehave: to break off, to lie, to be slow or busy."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Behaviour:
    """What goes wrong; everything is right by default."""

    cut_after: list[int] = field(default_factory=list)
    """For each of the next answers with a file, after how many bytes the connection breaks."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers to requests for files."""
    page_statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers to other requests."""
    retry_after: str | None = None
    """What answers with such a status say."""
    said_size: int | None = None
    """What the pages say of files' sizes."""
    said_sha256: str | None = None
    json: bool = True
    ranges: bool = True
    has_etags: bool = True
    has_lengths: bool = True
    silent_s: float = 0.0
    """How long to say nothing before each answer with a file."""
    chunk: int = 1 << 16
    pause_s: float = 0.0
    """How long to wait after each chunk."""
    replaced_by: bytes | None = None
    """What is sent in the place of every file."""


class FileServer:
    """The server; a context manager. `asked` holds (path, Range) of every request for a file."""

    def __init__(self, handler: type[FileHandler]) -> None:
        self.behaviour = Behaviour()
        self.asked: list[tuple[str, str | None]] = []
        self.authorizations: list[str | None] = []
        """What each request has shown."""
        self.files: dict[str, bytes] = {}
        """Plain files by their paths."""
        self.redirects: dict[str, str] = {}
        """Where else to look, by path."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"owner": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self.root = f"http://{self.address}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class FileHandler(BaseHTTPRequestHandler):
    owner: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.owner.authorizations.append(self.headers.get("Authorization"))
        self.answer(self.path.partition("?")[0])

    do_HEAD = do_GET

    def answer(self, path: str) -> None:
        """Answer a request; makers of other servers say here what they have."""
        if path in self.owner.redirects:
            self.send(302, b"", "text/plain", {"Location": self.owner.redirects[path]})
        elif path in self.owner.files:
            self.send_file(self.owner.files[path])
        else:
            self.send(404, b"", "text/plain")

    def send_file(self, content: bytes, **headers: str) -> None:
        behaviour = self.owner.behaviour
        if behaviour.replaced_by is not None:
            content = behaviour.replaced_by
        asked = self.headers.get("Range")
        if self.command == "GET":
            self.owner.asked.append((self.path, asked))
            if self.send_trouble(behaviour.statuses):
                return
            time.sleep(behaviour.silent_s)
        tag = f'"{hashlib.sha256(content).hexdigest()[:8]}"' if behaviour.has_etags else None
        is_range = bool(asked) and behaviour.ranges and self.headers.get("If-Range", tag) == tag
        begin, _, end = (asked or "").removeprefix("bytes=").partition("-") if is_range else ("0", "", "")
        start, stop = int(begin or 0), min(int(end) + 1 if end else len(content), len(content))
        if is_range and start >= len(content):
            self.send(416, b"", "text/plain", {"Content-Range": f"bytes */{len(content)}"})
            return
        self.send_response(206 if is_range else 200)
        if behaviour.has_lengths:
            self.send_header("Content-Length", str(stop - start))
        else:
            self.send_header("Connection", "close")
        for name, value in _headers(tag, headers):
            self.send_header(name, value)
        if is_range:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self._send_slowly(content[start:stop], behaviour)

    def send_trouble(self, statuses: list[int]) -> bool:
        """Answer with the next of the statuses that stand for something wrong; return whether there was one."""
        if not statuses or (status := statuses.pop(0)) == 200:
            return False
        wait = self.owner.behaviour.retry_after
        self.send(status, b"", "text/plain", {"Retry-After": wait} if wait else {})
        return True

    def _send_slowly(self, content: bytes, behaviour: Behaviour) -> None:
        end = behaviour.cut_after.pop(0) if behaviour.cut_after else len(content)
        try:
            for begin in range(0, min(end, len(content)), behaviour.chunk):
                self.wfile.write(content[begin : min(begin + behaviour.chunk, end)])
                time.sleep(behaviour.pause_s)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has ended, or gives up
        self.close_connection = True

    def send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _headers(tag: str | None, others: dict[str, str]) -> list[tuple[str, str]]:
    named = [(name.replace("_", "-"), value) for name, value in others.items()]
    known = {name.lower() for name, _ in named}
    return [*named, *([("ETag", tag)] if tag and "etag" not in known else [])]
