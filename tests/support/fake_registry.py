"""A registry of the OCI's protocol on loopback, with a token server, and a host for the layers beside it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.file_server import FileHandler, FileServer

OLLAMA = "application/vnd.ollama.image."
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class OciRegistry(FileServer):
    """The registry. With `needs_token` every request has to show one, which counts `token_lives` requests."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.cdn = FileServer(FileHandler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.needs_token = False
        self.token_lives = 10**9
        self.tokens: dict[str, int] = {}
        """What each token is still good for."""
        self.token_questions: list[dict[str, list[str]]] = []
        self.has_cdn = True
        self.realm = f"{self.root}/token"

    def __enter__(self) -> Self:
        self.cdn.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.cdn.__exit__(*error)
        super().__exit__(*error)

    def add(
        self,
        repo: str,
        tag: str,
        layers: Sequence[tuple[str, bytes, Mapping[str, str]]],
        config: Mapping[str, Any] | None = None,
    ) -> str:
        """Add an image of layers (media type, content, annotations); return its manifest's digest."""
        described = [
            {"mediaType": kind, "digest": self._keep(content), "size": len(content), "annotations": dict(annotations)}
            for kind, content, annotations in layers
        ]
        manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": described}
        if config is not None:
            body = json.dumps(config).encode()
            manifest["config"] = {"mediaType": "application/json", "digest": self._keep(body), "size": len(body)}
        return self.add_manifest(repo, tag, MANIFEST, manifest)

    def add_manifest(self, repo: str, tag: str, kind: str, content: Mapping[str, Any]) -> str:
        body = json.dumps(content).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.manifests[repo, tag] = self.manifests[repo, digest] = kind, body
        return digest

    def add_ollama(self, name: str, tag: str, model: bytes, **others: bytes) -> None:
        """Add a model as Ollama's registry has them; `others` are its further layers by kind."""
        layers = [(OLLAMA + kind, content, {}) for kind, content in {"model": model, **others}.items()]
        self.add(name, tag, layers, {"model_format": "gguf", "file_type": "Q4_K_M"})

    def _keep(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return digest


class _Handler(FileHandler):
    owner: OciRegistry

    def answer(self, path: str) -> None:
        if path == "/token":
            self._send_token()
        elif self.owner.needs_token and not self._is_allowed():
            challenge = f'Bearer realm="{self.owner.realm}",service="it",scope="repository:x:pull"'
            self.send(401, b"{}", "application/json", {"WWW-Authenticate": challenge})
        elif found := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            self._send_manifest(found[1], found[2])
        elif found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", path):
            self._send_blob(found[2])
        else:
            self.send(404, b"{}", "application/json")

    def _send_token(self) -> None:
        self.owner.token_questions.append(parse_qs(urlsplit(self.path).query))
        token = f"token-{len(self.owner.token_questions)}"
        self.owner.tokens[token] = self.owner.token_lives
        self.send(200, json.dumps({"token": token}).encode(), "application/json")

    def _is_allowed(self) -> bool:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.owner.tokens[token] = left = self.owner.tokens.get(token, 0) - 1
        return left >= 0

    def _send_manifest(self, repo: str, tag: str) -> None:
        if self.send_trouble(self.owner.behaviour.page_statuses):
            return
        kind, body = self.owner.manifests.get((repo, tag), ("", b""))
        self.send(200 if body else 404, body, kind or "text/plain")

    def _send_blob(self, digest: str) -> None:
        content = self.owner.blobs.get(digest)
        if content is None:
            self.send(404, b"{}", "application/json")
        elif not self.owner.has_cdn or len(content) < 1000:
            self.send_file(content)
        else:
            self.owner.cdn.files[f"/{digest}"] = content
            self.send(307, b"", "text/plain", {"Location": f"{self.owner.cdn.root}/{digest}?signature=once"})
