"""Where models come from: one module per scheme, whose `look_up` finds out which files a reference means.

Nothing is fetched here but what describes files; `gallery.download` fetches the files themselves.
"""

from __future__ import annotations

import importlib

import requests

from localai_flask.config.references import Reference
from localai_flask.config.references.reference import PICKLES
from localai_flask.gallery.errors import NotOffered, Offline
from localai_flask.gallery.sources.access import Access
from localai_flask.gallery.sources.offer import Offer, RemoteFile

__all__ = ["Access", "Offer", "RemoteFile", "connect", "look_up", "refuse_pickle"]

SOURCES = {
    "huggingface": "localai_flask.gallery.sources.hub",
    "ollama": "localai_flask.gallery.sources.registries",
    "oci": "localai_flask.gallery.sources.registries",
    "https": "localai_flask.gallery.sources.web",
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
        raise Offline.for_files(reference.text)
    offer: Offer = importlib.import_module(SOURCES[reference.scheme]).look_up(reference, access)
    for file in offer.files:
        refuse_pickle(file.path, access)
    return offer


def connect(file: RemoteFile) -> requests.Session:
    """Open a session for a file, with what its source has to show."""
    session: requests.Session = importlib.import_module(SOURCES[file.source]).connect(file)
    return session


def refuse_pickle(path: str, access: Access) -> None:
    """Raise `NotOffered` if a file may run code when it is read, and nobody has said that this is all right."""
    if path.lower().endswith(PICKLES) and not access.pickles:
        raise NotOffered(
            f"{path} is a pickle, which may run code when it is read; get a GGUF or safetensors file of the model, "
            "or set `trust_pickles: true` in its YAML if you trust where it comes from."
        )
