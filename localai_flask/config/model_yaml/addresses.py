"""Addresses that the server can fetch a file from, and what each says; reaches for nothing.

The gallery fetches what is named here. An address that is not listed is refused when its YAML is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

_ADDRESS = re.compile(r"^[a-z0-9+.-]+://|^(github|file|oci|ollama):", re.IGNORECASE)
_PACKAGE = re.compile(r"pypi://(?P<package>[^/=#]+)==(?P<version>[^/=#]+)/(?P<path>[^#]+)(#sha256=(?P<sha256>[^#]*))?")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class PackageFile(NamedTuple):
    """A file inside a wheel of a package index: `pypi://PACKAGE==VERSION/PATH#sha256=…`; the sum may be missing."""

    package: str
    version: str
    path: str
    sha256: str = ""

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.path).name


def parse_package_file(uri: str) -> PackageFile:
    """Read a `pypi://` address; raise `ValueError` with what is wrong with it."""
    found = _PACKAGE.fullmatch(uri)
    if found is None:
        raise ValueError("is not of the form pypi://PACKAGE==VERSION/PATH, with #sha256=… behind it if you know it")
    package, version, path = found["package"], found["version"], found["path"]
    try:
        canonicalize_name(package, validate=True)
        Version(version)
    except InvalidVersion:
        raise ValueError(f"names {version!r}, which is no version of a package") from None
    except ValueError:
        raise ValueError(f"names {package!r}, which is no name of a package") from None
    if not is_inside(path):
        raise ValueError(f"names {path!r}, which is no path inside a package")
    sha256 = found["sha256"]
    if sha256 is not None and not is_sha256(sha256):
        raise ValueError("has a sha256 that is not of 64 hexadecimal digits")
    return PackageFile(str(canonicalize_name(package)), version, path, (sha256 or "").lower())


FETCHED: dict[str, Callable[[str], PackageFile]] = {"pypi": parse_package_file}
"""How addresses are read, by scheme."""


def scheme(uri: str) -> str:
    return uri.partition(":")[0].lower()


def is_address(text: str) -> bool:
    """Return whether this is an address rather than a path."""
    return bool(_ADDRESS.match(text))


def is_fetched(text: str) -> bool:
    """Return whether this is an address that the server can fetch from."""
    return is_address(text) and scheme(text) in FETCHED


def parse(uri: str) -> PackageFile:
    """Read an address of a scheme in `FETCHED`; raise `ValueError` with what is wrong with it."""
    return FETCHED[scheme(uri)](uri)


def is_sha256(text: str) -> bool:
    return bool(_SHA256.fullmatch(text))


def is_inside(path: str) -> bool:
    """Return whether a path with slashes names something below the folder that it starts from."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path and "\0" not in path
