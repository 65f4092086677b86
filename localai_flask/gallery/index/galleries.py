"""The galleries of this server: their entries by name, the search among them, and the state of each."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from localai_flask.errors import ApiError, ModelNotFound
from localai_flask.gallery.index.cache import DocumentCache
from localai_flask.gallery.index.entries import BaseDocument, GalleryEntry, Index, read_base, read_index
from localai_flask.gallery.models.names import file_stem
from localai_flask.gallery.sources import Access
from localai_flask.settings import Settings
from localai_flask.settings.galleries import Gallery, parse_galleries
from localai_flask.store.place import default_path

SHOWN_NAMES = 5
LEAST_LIKENESS, MUCH_LESS = 0.6, 0.15
"""From where on a name counts as like another, and how much less like than the likest one is too much."""


class GalleryState(msgspec.Struct, frozen=True, kw_only=True):
    """A gallery and how it is: how many models it offers, when that was last seen, and what is wrong."""

    name: str
    url: str
    mirrors: tuple[str, ...] = ()
    entries: int = 0
    skipped: tuple[dict[str, str], ...] = ()
    checked_at: float | None = None
    error: str | None = None


class Galleries:
    """All galleries that are set; any thread may ask."""

    def __init__(self, settings: Settings):
        self.sources = parse_galleries(settings.galleries)
        self._of_operator = Access.of_operator(settings)
        folder = cache_folder(settings)
        self._bases = DocumentCache(folder / "documents", read_base, BaseDocument)
        self._indexes = {
            gallery.name: DocumentCache(folder / gallery.name, _reader(gallery), Index) for gallery in self.sources
        }

    def states(self) -> list[GalleryState]:
        """Look at every gallery, and return how it is."""
        return [self._state(gallery) for gallery in self.sources]

    def entries(self) -> Iterator[GalleryEntry]:
        """Yield the entries of all galleries that can be had, in the order in which they are set."""
        for gallery in self.sources:
            try:
                known = self._indexes[gallery.name].get(gallery.addresses, self._of_operator)
            except ApiError:
                continue  # `states` says why
            yield from known.content.entries

    def find(self, id: str) -> GalleryEntry:
        """Find an entry by `gallery@model` or `model`, whatever the case; of two with one name the first.

        Raises `ModelNotFound` with the nearest names, and why a gallery could not be asked.
        """
        found = self.find_or_none(id)
        if found is None:
            raise self._not_found(id)
        return found

    def find_or_none(self, id: str) -> GalleryEntry | None:
        """Find an entry as `find` does; None if there is none."""
        gallery, _, name = id.rpartition("@")
        wanted = _key(name)
        for entry in self.entries():
            if _key(entry.name) == wanted and gallery.lower() in ("", entry.gallery.lower()):
                return entry
        return None

    def base(self, url: str, access: Access) -> BaseDocument:
        """Fetch the document at an entry's `url`; raise an `ApiError` if it cannot be had."""
        return self._bases.get([url], access).content

    def _state(self, gallery: Gallery) -> GalleryState:
        state = GalleryState(name=gallery.name, url=gallery.url, mirrors=gallery.mirrors)
        try:
            known = self._indexes[gallery.name].get(gallery.addresses, self._of_operator)
        except ApiError as error:
            return msgspec.structs.replace(state, error=str(error))
        return msgspec.structs.replace(
            state,
            entries=len(known.content.entries),
            skipped=tuple({"name": each.name, "reason": each.reason} for each in known.content.skipped),
            checked_at=known.checked_at,
            error=known.error or None,
        )

    def _not_found(self, id: str) -> ModelNotFound:
        near = _nearest(id.rpartition("@")[2][:200], {entry.name for entry in self.entries()})
        hint = f" Perhaps {' or '.join(near)} is meant." if near else ""
        failed = [f" The gallery {state.name} cannot be asked: {state.error}" for state in self.states() if state.error]
        said = f"No gallery has a model {id[:200]!r}. GET /models/available lists them.{hint}{''.join(failed)}"
        return ModelNotFound(said, param="id")


def cache_folder(settings: Settings) -> Path:
    """Return where the server keeps what it has fetched of galleries: beside its database."""
    return default_path(settings).parent / "galleries"


def _reader(gallery: Gallery) -> Callable[[str], Index]:
    return lambda text: read_index(text, gallery.name)


def _nearest(wanted: str, names: Iterable[str]) -> list[str]:
    """Find the names that are like a text, or begin like it, the likest first; only those about as like as that."""
    text = _key(wanted)
    scores = {name: max(_likeness(text, _key(name)), _likeness(text, _key(name)[: len(text)])) for name in names}
    least = max(LEAST_LIKENESS, max(scores.values(), default=0.0) - MUCH_LESS)
    found = sorted((name for name in scores if scores[name] >= least), key=lambda name: (-scores[name], name))
    return found[:SHOWN_NAMES]


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, one).ratio()


def _key(name: str) -> str:
    """Return what two spellings of one name have in common."""
    return file_stem(name).lower()
