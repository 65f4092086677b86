"""A web site on loopback with texts and files: it knows ETags and ranges, and can be slow, broken or gone."""

from __future__ import annotations

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """The server; a context manager. `asked` holds the path, status and Range of every request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, int, str | None]] = []
        self.status = 200
        """Another one is what every request is answered with."""
        self.chunk, self.pause_s = 1 << 16, 0.0
        """How much of a file is sent at once, and how long to wait behind it."""
        handler = type("Handler", (_Handler,), {"site": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, path: str, content: str | bytes) -> str:
        """Put something there, and return its address."""
        self.files[path] = content.encode() if isinstance(content, str) else content
        return self.url + path

    def __enter__(self) -> Site:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        content = self.site.files.get(self.path.partition("?")[0])
        if content is None or self.site.status != 200:
            self._answer(404 if content is None else self.site.status, b"")
            return
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if self.headers.get("If-None-Match") == etag:
            self._answer(304, b"", etag)
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self._answer(206 if asked else 200, content[start:], etag, start, len(content))

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, etag: str = "", start: int = 0, total: int = 0) -> None:
        self.site.asked.append((self.path, status, self.headers.get("Range")))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        try:
            for at in range(0, len(body) if self.command == "GET" else 0, self.site.chunk):
                self.wfile.write(body[at : at + self.site.chunk])
                time.sleep(self.site.pause_s)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has ended, or gives up

    def log_message(self, *_: object) -> None:
        """Print nothing."""
