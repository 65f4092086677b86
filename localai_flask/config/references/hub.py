"""References to a hub: in LocalAI's, Ollama's and llama.cpp's spelling, and as addresses of its pages."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from localai_flask.config.references.reference import MODEL_SUFFIXES, Reference, find_fault

HOSTS = frozenset({"hf.co", "huggingface.co", "www.huggingface.co"})
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,5}")
_QUANTIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")
_WHOLE = re.compile(r"(?P<repo>[^/@:]+/[^/@:]+)(@(?P<revision>[^:]+?))?(:(?P<quantization>[^:/]+))?")
_FILE = re.compile(r"(?P<repo>[^/@:]+/[^/@:]+)(@(?P<early>[^/@:]+))?/(?P<path>[^@]+)(@(?P<late>.+))?")
_FORM = "is not of the form huggingface://owner/repo/file, with @revision behind it if it is not main"


def is_repository(text: str) -> bool:
    """Return whether a text without a scheme is `owner/repo`, or a file or quantization of one, and no local path."""
    first, _, rest = text.partition("/")
    name = rest.partition("/")[0]
    is_file = "/" not in rest and name.lower().endswith(MODEL_SUFFIXES)
    bare = re.split("[@:]", name)[0]
    return bool(rest) and not is_file and bool(_REPO.fullmatch(f"{first}/{bare}"))


def parse(rest: str) -> Reference:
    """Read what stands behind the scheme: `owner/repo[@revision][:QUANTIZATION]` or `owner/repo/file[@revision]`."""
    if rest.partition("/")[0].lower() in HOSTS:
        rest = rest.partition("/")[2]
    rest = rest.rstrip("/")
    if (found := _WHOLE.fullmatch(rest)) and "/" not in (found["revision"] or ""):
        return _checked(found["repo"], "", found["revision"], found["quantization"])
    found = _FILE.fullmatch(rest)
    if found is None or (found["early"] and found["late"]):
        raise ValueError(_FORM)
    return _checked(found["repo"], found["path"], found["late"] or found["early"])


def parse_page(url: str) -> Reference | None:
    """Read the address of a page or file of the hub; None if it is something else there."""
    parts = unquote(urlsplit(url).path).strip("/").split("/")
    match parts:
        case [owner, name]:
            return _checked(f"{owner}/{name}", "", "")
        case [owner, name, "resolve" | "blob" | "raw", revision, *path] if path:
            return _checked(f"{owner}/{name}", "/".join(path), revision)
        case [owner, name, "tree", revision]:
            return _checked(f"{owner}/{name}", "", revision)
    return None


def _checked(repo: str, path: str, revision: str | None, quantization: str | None = None) -> Reference:
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or repo.endswith(".git"):
        raise ValueError(f"names {repo!r}, which is no repository of a hub")
    if path and (fault := find_fault(path)):
        raise ValueError(f"names the file {path!r}, which {fault}")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ValueError(f"names {revision!r}, which is no branch, tag or commit")
    if quantization and not _QUANTIZATION.fullmatch(quantization):
        raise ValueError(f"names {quantization!r}, which is no quantization")
    revision = "" if quantization == "latest" or revision == "main" else revision
    quantization = "" if quantization == "latest" else quantization
    return Reference("huggingface", repo, path, revision or "", (quantization or "").upper())
