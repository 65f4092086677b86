"""A file at a plain web address: the address says all, and the server's headers say the rest when it is fetched."""

from __future__ import annotations

import requests

from localai_flask.config.references import Reference
from localai_flask.gallery.sources.access import Access
from localai_flask.gallery.sources.offer import Offer, RemoteFile
from localai_flask.gallery.transport.remote import open_session


def look_up(reference: Reference, access: Access) -> Offer:
    """Make an offer of the file; nobody is asked yet."""
    file = RemoteFile(
        path=reference.file_name,
        url=reference.url,
        sha256=reference.sha256 or None,
        private_addresses=access.private_addresses,
    )
    return Offer(name=reference.stem, files=(file,), model=reference.file_name)


def connect(file: RemoteFile) -> requests.Session:
    """Open a session without anything to show, but what ~/.netrc has for the host."""
    return open_session(private_addresses=file.private_addresses)
