"""A package index on loopback that can be told to misbehave, as every `FileServer`."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from typing import Any

from tests.support.file_server import FileHandler, FileServer


def make_wheel(members: Mapping[str, bytes]) -> bytes:
    """Make a wheel as far as a downloader looks at it: a zip archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


class Index(FileServer):
    """The server, with its files by package."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.wheels: dict[str, dict[str, bytes]] = {}
        self.password: str | None = None
        self.url = f"{self.root}/simple"

    def add(self, package: str, version: str, members: Mapping[str, bytes], tags: str = "py3-none-any") -> bytes:
        wheel = make_wheel(members)
        self.wheels.setdefault(package, {})[f"{package.replace('-', '_')}-{version}-{tags}.whl"] = wheel
        return wheel


class _Handler(FileHandler):
    owner: Index

    def answer(self, path: str) -> None:
        if self.owner.password and self.headers.get("Authorization") != self.owner.password:
            self.send(401, b"", "text/plain")
        elif found := re.fullmatch(r"/simple/([^/]+)/", path):
            self._send_page(found[1])
        elif found := re.fullmatch(r"/files/([^/]+)/([^/]+)", path):
            self.send_file(self.owner.wheels[found[1]][found[2]])
        else:
            super().answer(path)

    def _send_page(self, package: str) -> None:
        behaviour, wheels = self.owner.behaviour, self.owner.wheels.get(package)
        if self.send_trouble(behaviour.page_statuses):
            return
        if wheels is None:
            self.send(404, b"", "text/plain")
            return
        sums = {name: behaviour.said_sha256 or hashlib.sha256(wheel).hexdigest() for name, wheel in wheels.items()}
        if not behaviour.json:
            links = "".join(f'<a href="/files/{package}/{name}#sha256={sums[name]}">{name}</a><br>' for name in wheels)
            self.send(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")
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
        self.send(200, body, "application/vnd.pypi.simple.v1+json")
