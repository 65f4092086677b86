"""What the texts mean by which people and programs name a model to get; reaches for nothing.

`parse` reads any of them. In YAML only what `is_address` counts as one, since a bare name is a file there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from localai_flask.config.references import hub, local, packages, registries, web
from localai_flask.config.references.reference import Reference, is_sha256

__all__ = ["Reference", "is_address", "is_fetched", "is_local", "is_sha256", "parse", "stored_name"]


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|(github|file|oci|ollama|docker|hf|huggingface):", re.IGNORECASE)
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:/+|^(github|file|oci|ollama|docker|hf|huggingface):", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^\w.:@+=-]+")
_HOSTS = ("hf.co/", "huggingface.co/", "ghcr.io/", "quay.io/", "docker.io/", "registry.ollama.ai/")
"""Hosts that stand for their scheme where none is written."""
_SUM = "#sha256="
MOST_CHARACTERS = 2048

_PARSERS: dict[str, Callable[[str], Reference]] = {
    "huggingface": hub.parse,
    "hf": hub.parse,
    "http": web.parse,
    "https": web.parse,
    "github": web.parse_github,
    "file": local.parse,
    "ollama": registries.parse_ollama,
    "oci": registries.parse_oci,
    "docker": registries.parse_oci,
    "pypi": packages.parse,
}
"""How the rest of an address is read, by scheme."""


def is_address(text: str) -> bool:
    """Return whether this is an address rather than a path in the models folder."""
    return bool(_ADDRESS.match(text)) or text.lower().startswith(_HOSTS)


def is_local(text: str) -> bool:
    """Return whether this is an address of something in the models folder."""
    return text.lower().startswith("file:")


def is_fetched(text: str) -> bool:
    """Return whether this is an address that the server can fetch from."""
    is_known = text.partition(":")[0].lower() in _PARSERS or text.lower().startswith(_HOSTS)
    return is_address(text) and is_known and not is_local(text)


def stored_name(text: str) -> str:
    """Return under which name a model is kept that a request has named by where it comes from.

    It has no scheme, and "/" is written as LocalAI writes it into names.
    """
    rest = _SCHEME.sub("", text.strip())
    host, slash, path = rest.partition("/")
    rest = path if slash and host.lower() in hub.HOSTS else rest
    return _NOT_IN_NAMES.sub("__", rest.strip("/"))


def parse(text: str) -> Reference:
    """Read what names a model's files; raise `ValueError` with what is wrong with it, to be put behind the text."""
    text = text.strip()
    if len(text) > MOST_CHARACTERS or not text.isprintable():
        raise ValueError("is too long or has characters that cannot be seen")
    rest, has_sum, sha256 = text.partition(_SUM)
    if has_sum and not is_sha256(sha256):
        raise ValueError("has a sha256 that is not of 64 hexadecimal digits")
    return _parse(rest)._replace(text=text, sha256=sha256.lower())


def _parse(text: str) -> Reference:
    if _ADDRESS.match(text):
        scheme, _, rest = text.partition(":")
        parser = _PARSERS.get(scheme.lower())
        if parser is None:
            raise ValueError(f"has the scheme {scheme}, and this server can fetch from {', '.join(_PARSERS)}")
        return parser(text if parser is web.parse else rest.removeprefix("//"))
    if text.lower().startswith(_HOSTS):
        host, _, rest = text.partition("/")
        return hub.parse(rest) if host.lower() in hub.HOSTS else registries.parse_oci(text)
    return hub.parse(text) if hub.is_repository(text) else local.parse(text)
