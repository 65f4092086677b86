"""The files of the page: read once, compressed once, and known by one version that changes with any of them."""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.resources
import mimetypes
from dataclasses import dataclass
from pathlib import PurePosixPath

from flask import Response, request

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
"""The types that a browser insists on, whatever the machine's own table says."""
COMPRESSED = (".js", ".css", ".svg", ".html", ".txt", ".json")
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file as it is sent: its bytes, the same compressed (or None), its type and its tag."""

    body: bytes
    compressed: bytes | None
    content_type: str
    tag: str

    @classmethod
    def make(cls, name: str, body: bytes) -> WebFile:
        ending = PurePosixPath(name).suffix
        content_type = TYPES.get(ending) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        compressed = gzip.compress(body, 9, mtime=0) if ending in COMPRESSED else None
        if content_type.startswith("text/"):
            content_type += "; charset=utf-8"
        return cls(body, compressed, content_type, hashlib.sha256(body).hexdigest()[:16])

    def respond(self, cache: str) -> Response:
        """Send the file, compressed if the client takes that, or only that it has not changed."""
        takes_gzip = self.compressed is not None and request.accept_encodings["gzip"] > 0
        response = Response(self.compressed if takes_gzip else self.body, content_type=self.content_type)
        if takes_gzip:
            response.content_encoding = "gzip"
        if self.compressed is not None:
            response.vary.add("Accept-Encoding")
        response.headers["Cache-Control"] = cache
        response.set_etag(f"{self.tag}-gz" if takes_gzip else self.tag)
        response.make_conditional(request)
        return response


@functools.cache
def files() -> dict[str, WebFile]:
    """Return all files below `localai_flask/web` by their paths; nothing else is ever served."""
    root = importlib.resources.files("localai_flask") / "web"
    found: dict[str, WebFile] = {}
    folders = [("", root)]
    while folders:
        prefix, folder = folders.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                folders.append((f"{prefix}{entry.name}/", entry))
            else:
                found[prefix + entry.name] = WebFile.make(entry.name, entry.read_bytes())
    return found


@functools.cache
def version() -> str:
    """Return what stands in the addresses of the files, so that a browser may keep them for ever."""
    tags = "\n".join(f"{name} {file.tag}" for name, file in sorted(files().items()))
    return hashlib.sha256(tags.encode()).hexdigest()[:12]
