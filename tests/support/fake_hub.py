"""A hub on loopback with those of Hugging Face's routes that its own client asks, and a host for large files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import unquote

from tests.support.file_server import FileHandler, FileServer

COMMIT = "c0ffee" * 6 + "cafe"
LARGE = 10_000
"""Bytes from which on a file is kept by its sha256, on the other host."""


class Hub(FileServer):
    """The hub; `HF_ENDPOINT` is its `root`. What `cdn` sends can misbehave by itself."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.cdn = FileServer(FileHandler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.token: str | None = None
        """What has to be shown, if it is set."""
        self.gated: set[str] = set()
        self.tells_sizes = True

    def add(self, repo: str, files: Mapping[str, bytes]) -> None:
        self.repositories.setdefault(repo, {}).update(files)

    def __enter__(self) -> Self:
        self.cdn.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.cdn.__exit__(*error)
        super().__exit__(*error)

    def describe(self, repo: str) -> dict[str, Any]:
        files = self.repositories[repo]
        siblings = [self._describe_file(path, files[path]) for path in sorted(files)]
        return {
            "id": repo,
            "modelId": repo,
            "sha": COMMIT,
            "gated": repo in self.gated and "auto",
            "siblings": siblings,
        }

    def _describe_file(self, path: str, content: bytes) -> dict[str, Any]:
        if not self.tells_sizes:
            return {"rfilename": path}
        size = self.behaviour.said_size or len(content)
        described = {"rfilename": path, "size": size, "blobId": git_sha1(content)}
        if len(content) >= LARGE:
            sha256 = self.behaviour.said_sha256 or hashlib.sha256(content).hexdigest()
            described["lfs"] = {"sha256": sha256, "size": size, "pointerSize": 134}
        return described


class _Handler(FileHandler):
    owner: Hub

    def answer(self, path: str) -> None:
        path = unquote(path)
        if self.owner.token and self.headers.get("Authorization") != f"Bearer {self.owner.token}":
            self._refuse(401, "")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._send_description(found[1], found[2] or "main")
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._send_content(found[1], found[2], found[3])
        else:
            self._refuse(404, "")

    def _send_description(self, repo: str, revision: str) -> None:
        if self.send_trouble(self.owner.behaviour.page_statuses):
            return
        if repo not in self.owner.repositories:
            self._refuse(404, "RepoNotFound")
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            self.send(200, json.dumps(self.owner.describe(repo)).encode(), "application/json")

    def _send_content(self, repo: str, revision: str, path: str) -> None:
        content = self.owner.repositories.get(repo, {}).get(path)
        if content is None or revision not in ("main", COMMIT):
            self._refuse(404, "EntryNotFound")
            return
        commit = {"X-Repo-Commit": COMMIT}
        if len(content) < LARGE:
            self.send_file(content, ETag=f'"{git_sha1(content)}"', X_Repo_Commit=COMMIT)
            return
        sha256 = hashlib.sha256(content).hexdigest()
        self.owner.cdn.files[f"/{sha256}"] = content
        commit |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        commit["Location"] = f"{self.owner.cdn.root}/{sha256}?signature=for-once"
        self.owner.asked.append((self.path, self.headers.get("Range")))
        if not self.send_trouble(self.owner.behaviour.statuses):
            self.send(302, b"", "text/plain", commit)

    def _refuse(self, status: int, code: str) -> None:
        self.send(status, b"", "text/plain", {"X-Error-Code": code} if code else {})


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
