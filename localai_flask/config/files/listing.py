"""What a models folder holds: YAML and GGUF files, checkpoints of RWKV, Hugging Face snapshots, also in folders below.

Looks at names and stamps, and at the first bytes of files whose ending says nothing; knows no model.
"""

from __future__ import annotations

import functools
import logging
import os
from collections import deque
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, NamedTuple

from localai_flask.config.files.bounded import open_regular
from localai_flask.config.files.gguf import ADAPTER_MARK, MAGIC
from localai_flask.config.files.pth import PTH, read_checkpoint
from localai_flask.errors import ConfigError, ServerConfigError

log = logging.getLogger("gunicorn.error")

MOST_DEPTH = 4
"""Folders below the models folder, one in the other: publisher, model, quantization, and one to spare."""
MOST_ITEMS = 10_000
"""Files and folders that are looked at, so that a whole disk under the models folder costs tenths of a second."""
UNFINISHED = frozenset({".part", ".partial", ".incomplete", ".download", ".crdownload", ".aria2", ".tmp", ".temp"})
"""Endings of files that something is still writing."""
WEIGHTS = (".safetensors", ".bin")
YAML = (".yaml", ".yml")
BEGINNING = 4096
"""Bytes of a GGUF file, whose kind stands beside its architecture."""
BLOBS = "blobs"
"""A folder of files named by their digests, which others link to, in the caches of Hugging Face and Ollama."""


class Entry(NamedTuple):
    """Something in the models folder, by its path from there, with the stamp that tells whether it has changed."""

    name: str
    kind: Literal["yaml", "gguf", "adapter", "pth", "snapshot"]
    mtime_ns: int
    size: int

    @property
    def stem(self) -> str:
        return self.name if self.kind == "snapshot" else str(PurePosixPath(self.name).with_suffix(""))


class _Place(NamedTuple):
    path: Path
    prefix: str
    depth: int


def is_yaml(file: PurePath) -> bool:
    """Return whether a file is YAML, by its name."""
    return file.suffix.lower() in YAML


def look(folder: Path) -> tuple[Entry, ...]:
    """List what is in a folder and those below it; a missing folder is empty. YAML counts in the folder itself only.

    Raises `ServerConfigError` if the folder cannot be read.
    """
    found: list[Entry] = []
    places, seen, items_left = deque([_Place(folder, "", 0)]), set[tuple[int, int]](), MOST_ITEMS
    while places and items_left > 0:
        place = places.popleft()
        items = _items(place, seen)
        items_left -= len(items)
        if place.depth and (snapshot := _snapshot(place, items)):
            found.append(snapshot)
            continue
        for item in items[: MOST_ITEMS if items_left > 0 else items_left]:
            if below := _below(item, place):
                places.append(below)
            elif entry := _entry(item, place):
                found.append(entry)
    if items_left <= 0:
        log.warning("%s holds more than %d files and folders; the rest is not looked at", folder, MOST_ITEMS)
    return tuple(sorted(found))


def look_at(file: Path) -> tuple[Entry, ...]:
    """List one YAML file, wherever it is, by its whole path; nothing if it is not there."""
    try:
        stat = file.stat()
    except OSError:
        return ()
    return (Entry(str(file.absolute()), "yaml", stat.st_mtime_ns, stat.st_size),)


def _items(place: _Place, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """List a folder that has not been seen by another way, as links can lead in circles."""
    try:
        stat = os.stat(place.path)
        if (stat.st_dev, stat.st_ino) in seen:
            return []
        seen.add((stat.st_dev, stat.st_ino))
        with os.scandir(place.path) as found:
            return sorted((item for item in found if _is_named_well(item.name)), key=lambda item: item.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if place.depth:
            return []
        raise ServerConfigError(
            f"The models folder {place.path} cannot be read ({error.strerror}); check its permissions."
        ) from error


def _is_named_well(name: str) -> bool:
    """Return whether a name is neither hidden nor, as it is no UTF-8, such that no client could ask for it."""
    return not name.startswith(".") and not any("\ud800" <= character <= "\udfff" for character in name)


def _below(item: os.DirEntry[str], place: _Place) -> _Place | None:
    try:
        if place.depth >= MOST_DEPTH or not item.is_dir() or item.name == BLOBS:
            return None
    except OSError:
        return None
    return _Place(Path(item.path), f"{place.prefix}{item.name}/", place.depth + 1)


def _snapshot(place: _Place, items: list[os.DirEntry[str]]) -> Entry | None:
    """Read a folder as a Hugging Face model, unless its config.json lies beside GGUF files alone."""
    names = {item.name: item for item in items}
    endings = {PurePosixPath(name).suffix.lower() for name in names}
    if "config.json" not in names or (".gguf" in endings and not endings.intersection(WEIGHTS)):
        return None
    try:
        config, folder = names["config.json"].stat(), os.stat(place.path)
    except OSError:  # removed since the folder was listed
        return None
    return Entry(place.prefix[:-1], "snapshot", max(config.st_mtime_ns, folder.st_mtime_ns), config.st_size)


def _entry(item: os.DirEntry[str], place: _Place) -> Entry | None:
    try:
        if not item.is_file():
            return None
        stat = item.stat()
    except OSError:  # removed since the folder was listed, a link to nowhere, or not ours to see
        return None
    name, suffix = place.prefix + item.name, PurePosixPath(item.name).suffix.lower()
    if suffix in YAML:
        return None if place.depth else Entry(name, "yaml", stat.st_mtime_ns, stat.st_size)
    if suffix == PTH and read_checkpoint(Path(item.path)) is not None:
        return Entry(name, "pth", stat.st_mtime_ns, stat.st_size)
    is_gguf = suffix == ".gguf" or (
        suffix not in UNFINISHED and _begins_as_gguf(item.path, stat.st_mtime_ns, stat.st_size)
    )
    if not is_gguf:
        return None
    is_adapter = _is_adapter(item.path, stat.st_mtime_ns, stat.st_size)
    return Entry(name, "adapter" if is_adapter else "gguf", stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=MOST_ITEMS)
def _begins_as_gguf(path: str, _mtime_ns: int, _size: int) -> bool:
    try:
        with open_regular(Path(path)) as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ConfigError):
        return False


@functools.lru_cache(maxsize=MOST_ITEMS)
def _is_adapter(path: str, _mtime_ns: int, _size: int) -> bool:
    """Return whether a GGUF file says at its beginning that it is an adapter of a model, and no model."""
    try:
        with open_regular(Path(path)) as file:
            return ADAPTER_MARK in file.read(BEGINNING)
    except (OSError, ConfigError):
        return False
