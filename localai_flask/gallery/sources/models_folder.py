"""Files and folders that are in the models folder already; no other place of this machine is looked at."""

from __future__ import annotations

from pathlib import Path

from localai_flask.config.files.settling import missing
from localai_flask.config.references import Reference
from localai_flask.gallery.errors import NotOffered
from localai_flask.gallery.sources.access import Access
from localai_flask.gallery.sources.offer import Offer


def look_up(reference: Reference, access: Access) -> Offer:
    """Find the file or folder; raise `NotOffered` if it is none of the models folder, or is not whole."""
    folder = access.models_path.absolute()
    path = Path(reference.path)
    if path.is_absolute():
        if not path.is_relative_to(folder):
            raise NotOffered(f"{reference.text} is not in the models folder {folder}; move or link it there.")
        path = path.relative_to(folder)
    if not (folder / path).exists():
        raise NotOffered(f"There is no {path} in the models folder {folder}; put it there.")
    if lacks := missing(folder / path):
        raise NotOffered(str(lacks))
    return Offer(name=reference.stem, files=(), model=str(path), note="it is in the models folder already")
