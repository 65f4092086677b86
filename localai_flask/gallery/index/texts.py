"""Fetches the small texts that describe models: indexes of galleries, and the documents that entries refer to."""

from __future__ import annotations

import importlib.resources
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from localai_flask.config.files.bounded import read_text
from localai_flask.config.files.listing import is_yaml
from localai_flask.config.references import Reference
from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import DownloadFailed, Offline, SourceUnreachable
from localai_flask.gallery.references import parse_reference
from localai_flask.gallery.sources import Access, look_up
from localai_flask.gallery.sources.offer import RemoteFile
from localai_flask.gallery.sources.registry_client import Registry
from localai_flask.gallery.transport.bounded_answers import TooMuch, read_bounded
from localai_flask.gallery.transport.remote import Remote, open_session, reason_of, shown
from localai_flask.settings.galleries import SHIPPED

MOST_BYTES = 32 << 20
"""The longest text; LocalAI's index has 2.5 MB."""
TITLE = "org.opencontainers.image.title"
NOT_MODIFIED, BAD_REQUEST = 304, 400


class Fetched(NamedTuple):
    """A text, and the tag by which to ask whether it is still the same; None if it is."""

    text: str | None
    etag: str = ""


def fetch_text(address: str, access: Access, etag: str = "") -> Fetched:
    """Fetch a text; raise an `ApiError` with one sentence if that cannot be done."""
    if address == SHIPPED:
        return _read_file(Path(str(importlib.resources.files("localai_flask.gallery.data") / "index.yaml")), etag)
    if access.private_addresses and address.startswith("file:///"):
        return _read_file(Path(unquote(urlsplit(address).path)), etag)
    reference = parse_reference(address)
    if reference.scheme in ("https", "oci") and access.offline:
        raise Offline(f"{shown(address)} cannot be asked: the server is set to be offline (LOCALAI_OFFLINE).")
    if reference.scheme == "oci":
        return _read_image(reference, access, etag)
    if reference.scheme == "https":
        file = RemoteFile(path=reference.path, url=reference.url, private_addresses=access.private_addresses)
        return _receive(file, etag)
    offer = look_up(reference, access)
    if not offer.files:
        return _read_file(access.models_path / offer.model, etag)
    return _receive(offer.files[0], etag)


def _read_file(file: Path, etag: str) -> Fetched:
    """Read a file unless it is as it was; what it says is costly to read, and seldom changes."""
    try:
        stat = file.stat()
        stamp = f"{stat.st_mtime_ns}-{stat.st_size}-{stat.st_ino}"
    except OSError:  # the reader says what is wrong
        stamp = ""
    return Fetched(None, etag) if stamp and stamp == etag else Fetched(read_text(file, MOST_BYTES), stamp)


def _read_image(reference: Reference, access: Access, digest: str) -> Fetched:
    """Read the layer of an image that is YAML, by its media type or its title; its digest is its tag."""
    registry = Registry(reference.host, reference.repo, private_addresses=access.private_addresses)
    layers = registry.read_manifest(reference.revision).get("layers")
    for layer in (each for each in layers if isinstance(each, dict)) if isinstance(layers, list) else ():
        annotations = layer.get("annotations")
        title = str(annotations.get(TITLE, "")) if isinstance(annotations, dict) else ""
        found = str(layer.get("digest"))
        if "yaml" not in str(layer.get("mediaType")) and not is_yaml(PurePosixPath(title)):
            continue
        return Fetched(None, digest) if found == digest else Fetched(_decode(registry.read_blob(found), found), found)
    raise ConfigError(f"{reference.text} has no layer that is YAML, so it is no gallery.")


def _receive(file: RemoteFile, etag: str) -> Fetched:
    headers = {**file.headers, "If-None-Match": etag} if etag else file.headers
    session = open_session(private_addresses=file.private_addresses)
    remote = Remote(file.url, file.path, session=session, headers=headers)
    try:
        with remote.open() as response:
            if response.status_code == NOT_MODIFIED and etag:
                return Fetched(None, etag)
            if response.status_code >= BAD_REQUEST:
                raise DownloadFailed(f"{shown(file.url)} answers {response.status_code} {response.reason}.")
            return Fetched(_read(response, file.url), response.headers.get("ETag", ""))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise SourceUnreachable(f"Cannot reach {shown(file.url)}: {reason_of(error)}.") from error


def _read(response: requests.Response, url: str) -> str:
    try:
        content = read_bounded(response, MOST_BYTES)
    except TooMuch:
        raise ConfigError(f"{shown(url)} sends more than {MOST_BYTES >> 20} MB; that is no gallery.") from None
    return _decode(content, shown(url))


def _decode(content: bytes, origin: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"What {origin} sends is no UTF-8 text.") from None
