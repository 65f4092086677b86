"""A web site on loopback with texts and files, which tells clients that what they have is still the newest."""

from __future__ import annotations

import hashlib

from tests.support.file_server import FileHandler, FileServer


class Site(FileServer):
    """The server. `answers` holds the path, the status and the Range of every request."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.answers: list[tuple[str, int, str | None]] = []
        self.status = 200
        """Another one is what every request is answered with."""

    def add(self, path: str, content: str | bytes) -> str:
        """Put something there, and return its address."""
        self.files[path] = content.encode() if isinstance(content, str) else content
        return self.root + path


class _Handler(FileHandler):
    owner: Site

    def answer(self, path: str) -> None:
        content, asked = self.owner.files.get(path), self.headers.get("Range")
        status = 404 if content is None else self.owner.status
        tag = f'"{hashlib.sha256(content or b"").hexdigest()[:8]}"'
        if status == 200 and self.headers.get("If-None-Match") == tag:
            status = 304
        self.owner.answers.append((self.path, 206 if status == 200 and asked else status, asked))
        if status == 200:
            super().answer(path)
        else:
            self.send(status, b"", "text/plain")
