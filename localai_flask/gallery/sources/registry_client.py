"""Asks a registry of the OCI's distribution protocol, and shows it the tokens that it sends clients to fetch.

https://github.com/opencontainers/distribution-spec and https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from localai_flask.gallery.errors import NotOffered, SourceUnreachable
from localai_flask.gallery.sources.retries import retry
from localai_flask.gallery.transport.bounded_answers import TooMuch, read_bounded
from localai_flask.gallery.transport.remote import (
    CONNECT_S,
    PASSING,
    READ_S,
    open_session,
    read_retry_after,
    reason_of,
    shown,
)
from localai_flask.user_folders import home

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MOST_BYTES = 4 << 20
"""The largest manifest, or layer that describes a model, that is read."""
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404


def root_of(host: str) -> str:
    """Return the address of a registry; as everywhere, one on this machine is asked without TLS."""
    name = host.rpartition(":")[0] or host
    try:
        is_local = ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        is_local = name == "localhost"
    return f"{'http' if is_local else 'https'}://{host}"


def open_registry_session(url: str, *, private_addresses: bool) -> requests.Session:
    session = open_session(private_addresses=private_addresses)
    session.auth = _RegistryAuth(urlsplit(url).netloc, private_addresses)
    return session


class Registry:
    """One repository of a registry."""

    def __init__(self, host: str, repo: str, *, private_addresses: bool):
        self._base = f"{root_of(host)}/v2/{repo}"
        self._named = f"{host}/{repo}"
        self._session = open_registry_session(self._base, private_addresses=private_addresses)

    def blob_url(self, digest: str) -> str:
        return f"{self._base}/blobs/{digest}"

    def read_manifest(self, tag: str) -> dict[str, Any]:
        """Read the manifest of a tag or digest; raise `NotOffered` if there is none."""
        body = self._get(f"{self._base}/manifests/{tag}", f"tag {tag}", {"Accept": ", ".join(MANIFEST_TYPES)})
        _check_digest(body, tag, self._named)
        return self._parse(body)

    def read_blob(self, digest: str) -> bytes:
        """Read a small layer."""
        body = self._get(self.blob_url(digest), f"layer {digest}", {})
        _check_digest(body, digest, self._named)
        return body

    def read_json(self, digest: str) -> dict[str, Any]:
        return self._parse(self.read_blob(digest))

    def _parse(self, body: bytes) -> dict[str, Any]:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise NotOffered(f"What {self._named} sends is no JSON object; check that it is a registry.")
        return found

    def _get(self, url: str, what: str, headers: Mapping[str, str]) -> bytes:
        return retry(lambda: self._ask(url, what, headers))

    def _ask(self, url: str, what: str, headers: Mapping[str, str]) -> bytes:
        try:
            with self._session.get(url, headers=headers, stream=True, timeout=(CONNECT_S, READ_S)) as answer:
                self._check(answer, what)
                return read_bounded(answer, MOST_BYTES)
        except TooMuch:
            raise NotOffered(f"The {what} of {self._named} is larger than {MOST_BYTES >> 20} MiB.") from None
        except requests.RequestException as error:
            said = f"Cannot reach the registry {shown(self._base)}: {reason_of(error)}; check the network."
            raise SourceUnreachable(said) from error

    def _check(self, answer: requests.Response, what: str) -> None:
        status = answer.status_code
        if status == NOT_FOUND:
            raise NotOffered(f"There is no {self._named} with the {what}; check its name and tag.")
        if status in (UNAUTHORIZED, FORBIDDEN):
            raise NotOffered(
                f"{self._named} is not there or not public; log in with `docker login`, whose file is read here too."
            )
        if status in PASSING:
            wanted = read_retry_after(answer.headers.get("Retry-After", ""))
            raise SourceUnreachable(f"The registry of {self._named} answers {status}; try later.", retry_after=wanted)
        if not answer.ok:
            raise NotOffered(f"The registry of {self._named} answers {status} {answer.reason}.")


def _check_digest(body: bytes, digest: str, named: str) -> None:
    if digest.startswith("sha256:") and hashlib.sha256(body).hexdigest() != digest.removeprefix("sha256:"):
        raise NotOffered(f"What {named} sends has not the digest {digest}; it was thrown away.")


class _RegistryAuth(requests.auth.AuthBase):
    """Fetches a token when the registry asks for one, again when it has expired, and shows it to that host alone."""

    def __init__(self, netloc: str, private_addresses: bool):
        self._netloc, self._private = netloc, private_addresses
        self._authorization = ""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._authorization:
            request.headers["Authorization"] = self._authorization
        request.register_hook("response", self._answer_challenge)
        return request

    def _answer_challenge(self, response: requests.Response, **sending: Any) -> requests.Response:
        request = response.request.copy()
        is_ours = urlsplit(request.url or "").netloc == self._netloc
        if response.status_code != UNAUTHORIZED or not is_ours or response.history:
            return response
        wanted = self._authorize(response.headers.get("WWW-Authenticate", ""))
        if not wanted or wanted == request.headers.get("Authorization"):
            return response
        response.close()
        self._authorization = request.headers["Authorization"] = wanted
        again: requests.Response = response.connection.send(request, **sending)  # type: ignore[attr-defined]
        again.history.append(response)
        again.request = request
        return again

    def _authorize(self, challenge: str) -> str:
        """Return what to show for a challenge; "" if nothing would help."""
        kind, _, rest = challenge.partition(" ")
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        login = _read_login(self._netloc)
        if kind.lower() == "basic":
            return f"Basic {login}" if login else ""
        realm = asked.get("realm", "")
        is_safe = realm.startswith("https://") or urlsplit(realm).netloc == self._netloc
        if kind.lower() != "bearer" or not is_safe:
            return ""
        session = open_session(private_addresses=self._private)
        parameters = {key: asked[key] for key in ("service", "scope") if key in asked}
        headers = {"Authorization": f"Basic {login}"} if login else {}
        patience = CONNECT_S, READ_S
        with session.get(realm, params=parameters, headers=headers, stream=True, timeout=patience) as answer:
            if answer.status_code in PASSING:
                answer.raise_for_status()
            return _read_token(answer)


def _read_token(answer: requests.Response) -> str:
    """Return what to show from what a token server says; "" if that is nothing."""
    try:
        found = json.loads(read_bounded(answer, MOST_BYTES))
        return f"Bearer {found.get('token') or found['access_token']}"
    except (ValueError, RecursionError, KeyError, AttributeError, TooMuch):
        return ""


def _read_login(host: str) -> str:
    """Return what `docker login` has kept of a registry, in base64; "" if that is nothing."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or home() / ".docker")
    try:
        auth = str(json.loads((folder / "config.json").read_text())["auths"][host]["auth"])
        base64.b64decode(auth, validate=True)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return auth
