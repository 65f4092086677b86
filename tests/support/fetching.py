"""Shortcuts through the gallery's own verbs: what a reference means, and fetching it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from localai_flask.gallery.download import fetch_files
from localai_flask.gallery.progress import Progress
from localai_flask.gallery.references import parse_reference
from localai_flask.gallery.sources import Access, Offer, RemoteFile, look_up

OPERATOR = Access(Path("models"), private_addresses=True)


def offer_of(text: str, access: Access = OPERATOR) -> Offer:
    return look_up(parse_reference(text), access)


def locate(text: str) -> RemoteFile:
    """Return the only file of a reference."""
    (file,) = offer_of(text).files
    return file


def fetch_to(target: Path, file: RemoteFile, sha256: str = "") -> list[Progress]:
    """Fetch a file to a path, and return what was reported."""
    reports: list[Progress] = []
    wanted = msgspec.structs.replace(file, path=target.name, sha256=sha256 or file.sha256)
    fetch_files([wanted], target.parent, report=reports.append, stopped=lambda: False)
    return reports
