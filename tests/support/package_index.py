"""A package index on loopback that can be told to misbehave: to break off, to lie, to be slow."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def make_wheel(members: Mapping[str, bytes]) -> bytes:
    """Make a wheel as far as a downloader looks at it: a zip archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


@dataclass
class Behaviour:
    """What goes wrong; everything is right by default."""

    cut_after: list[int] = field(default_factory=list)
    """For each of the next answers, after how many bytes the connection breaks."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers to requests for files."""
    said_size: int | None = None
    said_sha256: str | None = None
    json: bool = True
    ranges: bool = True
    chunk: int = 1 << 16
    pause_s: float = 0.0
    """How long to wait after each chunk."""


class Index:
    """The server; a context manager. `asked` holds (path, Range) of every request for a file."""

    def __init__(self) -> None:
        self.wheels: dict[str, dict[str, bytes]] = {}
        self.behaviour = Behaviour()
        self.asked: list[tuple[str, str | None]] = []
        self.password: str | None = None
        handler = type("Handler", (_Handler,), {"index": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/simple"

    def add(self, package: str, version: str, members: Mapping[str, bytes], tags: str = "py3-none-any") -> bytes:
        wheel = make_wheel(members)
        self.wheels.setdefault(package, {})[f"{package.replace('-', '_')}-{version}-{tags}.whl"] = wheel
        return wheel

    def __enter__(self) -> Index:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    index: Index

    def do_GET(self) -> None:
        if self.index.password and self.headers.get("Authorization") != self.index.password:
            self._send(401, b"", "text/plain")
        elif found := re.fullmatch(r"/simple/([^/]+)/", self.path):
            self._send_page(found[1])
        elif found := re.fullmatch(r"/files/([^/]+)/([^/]+)", self.path):
            self._send_file(self.index.wheels[found[1]][found[2]])
        else:
            self._send(404, b"", "text/plain")

    def _send_page(self, package: str) -> None:
        behaviour, wheels = self.index.behaviour, self.index.wheels.get(package)
        if wheels is None:
            self._send(404, b"", "text/plain")
            return
        sums = {name: behaviour.said_sha256 or hashlib.sha256(wheel).hexdigest() for name, wheel in wheels.items()}
        if not behaviour.json:
            links = "".join(f'<a href="/files/{package}/{name}#sha256={sums[name]}">{name}</a><br>' for name in wheels)
            self._send(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")
            return
        files: list[dict[str, Any]] = [
            {
                "filename": name,
                "url": f"../../files/{package}/{name}",
                "hashes": {"sha256": sums[name]},
                "size": behaviour.said_size or len(wheel),
            }
            for name, wheel in wheels.items()
        ]
        body = json.dumps({"files": files, "meta": {"api-version": "1.1"}, "name": package}).encode()
        self._send(200, body, "application/vnd.pypi.simple.v1+json")

    def _send_file(self, content: bytes) -> None:
        behaviour = self.index.behaviour
        asked = self.headers.get("Range")
        self.index.asked.append((self.path, asked))
        if behaviour.statuses and (status := behaviour.statuses.pop(0)) != 200:
            self._send(status, b"", "text/plain")
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and behaviour.ranges else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked and behaviour.ranges else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:8]}"')
        if asked and behaviour.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self._send_slowly(content[start:], behaviour)

    def _send_slowly(self, content: bytes, behaviour: Behaviour) -> None:
        end = behaviour.cut_after.pop(0) if behaviour.cut_after else len(content)
        try:
            for begin in range(0, min(end, len(content)), behaviour.chunk):
                self.wfile.write(content[begin : min(begin + behaviour.chunk, end)])
                time.sleep(behaviour.pause_s)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has ended, or gives up
        self.close_connection = True

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
