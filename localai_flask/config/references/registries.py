"""References to registries of the OCI's protocol: `ollama://name:tag`, and `oci://host/repository:tag`."""

from __future__ import annotations

import re

from localai_flask.config.references import hub
from localai_flask.config.references.reference import Reference

OLLAMA = "registry.ollama.ai"
DOCKER_NAMES, DOCKER = frozenset({"docker.io", "index.docker.io"}), "registry-1.docker.io"
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(?:\.[A-Za-z0-9-]{1,63})*(?::\d{1,5})?|\[[0-9a-f:]+\](?::\d{1,5})?"
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*){0,7}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def parse_ollama(rest: str) -> Reference:
    """Read `[host/][namespace/]name[:tag]`, as Ollama's own commands take it."""
    host, path = _split_host(rest)
    if host in hub.HOSTS:
        return hub.parse(path)
    path, tag = _split_tag(path)
    repo = path.lower() if "/" in path else f"library/{path.lower()}"
    return _checked("ollama", host or OLLAMA, repo, tag)


def parse_oci(rest: str) -> Reference:
    """Read `host/repository[:tag]` or `host/repository@sha256:…`; without a host Docker's registry is meant."""
    host, path = _split_host(rest)
    path, tag = _split_tag(path)
    if not host or host in DOCKER_NAMES:
        host, path = DOCKER, path if "/" in path else f"library/{path}"
    return _checked("oci", host, path, tag)


def _split_host(rest: str) -> tuple[str, str]:
    first, slash, path = rest.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return (first.lower(), path) if is_host else ("", rest)


def _split_tag(path: str) -> tuple[str, str]:
    if "@" in path:
        name, _, digest = path.partition("@")
        return name, digest
    name, _, tag = path.partition(":")
    return name, tag or "latest"


def _checked(scheme: str, host: str, repo: str, tag: str) -> Reference:
    if not _HOST.fullmatch(host):
        raise ValueError(f"names {host!r}, which is no host")
    if not _REPOSITORY.fullmatch(repo):
        raise ValueError(f"names {repo!r}, which is no repository of a registry")
    if not (_DIGEST if ":" in tag else _TAG).fullmatch(tag):
        raise ValueError(f"names {tag!r}, which is no tag and no sha256 digest")
    return Reference(scheme, repo, revision=tag, host=host)
