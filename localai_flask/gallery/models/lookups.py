"""Where the files of a model lie: those that are listed, those of which one is made, and those named by address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from localai_flask.config.model_yaml.variants import laid_over
from localai_flask.config.references import is_address
from localai_flask.gallery.index.entries import EntryFile
from localai_flask.gallery.models import names
from localai_flask.gallery.models.assembly import Assembly
from localai_flask.gallery.models.draft import Draft
from localai_flask.gallery.references import parse_reference
from localai_flask.gallery.sources import Access, look_up, refuse_pickle
from localai_flask.gallery.sources.offer import Offer, RemoteFile

ADDRESS_KEYS = (("parameters", "model"), ("mmproj",), ("draft_model",), ("lora_adapter",))
"""Keys whose value may be an address, of which the file is fetched and named there."""


class Found(NamedTuple):
    """A configuration with names of files for addresses, the files to fetch, and what its sources said of them."""

    content: dict[str, Any]
    files: tuple[RemoteFile, ...]
    assemblies: tuple[Assembly, ...]
    name: str
    """What the model's source calls it."""
    notes: tuple[str, ...]


def find_files(draft: Draft, access: Access) -> Found:
    """Look up all files of a model; raise an `ApiError` if one cannot be had, or has a name that it must not have."""
    assemblies = tuple(_assembly(file, access.pickles) for file in draft.files if file.parts or file.unpack)
    listed = [_look_up(file, access) for file in _pieces(draft.files, access.models_path)]
    content, named = _named_files(draft.content, access)
    files = {file.path: file for offer in (*listed, *named) for file in offer.files}
    for path in (*files, *(assembly.target for assembly in assemblies)):
        refuse_pickle(path, access)
    for path in files:
        names.check_place(access.models_path, names.check_file_name(path))
    notes = tuple(offer.note for offer in named if offer.note)
    return Found(content, tuple(files.values()), assemblies, named[0].name if named else "", notes)


def _assembly(file: EntryFile, pickles: bool = False) -> Assembly:
    names.check_file_name(file.filename)
    pieces = [f"{file.filename}.piece{number:03d}" for number, _ in enumerate(file.parts or (file.uri,))]
    return Assembly(file.filename, tuple(pieces), file.sha256, file.unpack, pickles)


def _pieces(files: Sequence[EntryFile], models_path: Path) -> Iterator[EntryFile]:
    """Yield the files to fetch: of what is made of pieces these, unless it is there."""
    for file in files:
        if not (file.parts or file.unpack):
            yield file
        elif not (models_path / file.filename).exists():
            sha256 = file.sha256 if file.unpack else ""
            for uri, path in zip(file.parts or (file.uri,), _assembly(file).pieces, strict=True):
                yield EntryFile(uri, path, sha256)


def _look_up(file: EntryFile, access: Access) -> Offer:
    """Find where a listed file lies; it gets the name and has to have the sum that the list gives it."""
    offer = look_up(parse_reference(file.uri), access)
    if len(offer.files) != 1:
        return offer
    [remote] = offer.files
    path, sha256 = file.filename or remote.path, file.sha256.lower() or remote.sha256
    return msgspec.structs.replace(offer, files=(msgspec.structs.replace(remote, path=path, sha256=sha256),))


def _named_files(content: dict[str, Any], access: Access) -> tuple[dict[str, Any], list[Offer]]:
    """Look up the addresses that stand in a configuration, and put the names of their files in their place."""
    offers: list[Offer] = []
    for path in ADDRESS_KEYS:
        address = _at(content, path)
        if not isinstance(address, str) or not is_address(address):
            continue
        offer = look_up(parse_reference(address), access)
        offers.append(offer)
        content = laid_over(content, _nested(path, offer.model))
        if path == ("parameters", "model"):
            given = {"mmproj": offer.mmproj} if offer.mmproj and not content.get("mmproj") else {}
            content = laid_over(laid_over(dict(offer.overrides), given), content)
    for listed in content.get("download_files") or ():
        if isinstance(listed, dict) and is_address(str(listed.get("uri") or "")):
            offers.append(_look_up(msgspec.convert(listed, EntryFile), access))
    return content, offers


def _at(content: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = content
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    found: dict[str, Any] = value
    return found
