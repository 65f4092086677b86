"""What the server remembers of a model that it has installed: where it is from, and which files came with it.

A record lies hidden in the models folder, under the name and in the form that LocalAI gives it, so that a folder of
LocalAI's brings its records along.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from localai_flask.atomic_file import replace_text
from localai_flask.config.files.bounded import read_text
from localai_flask.config.model_yaml import yamlfile
from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import DownloadFailed
from localai_flask.gallery.index.entries import EntryFile

PREFIX, SUFFIX = "._gallery_", ".yaml"
MOST_BYTES = 1 << 20


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One installed model; `files` are relative to the models folder, `templates` too."""

    name: str
    gallery: str = ""
    entry: str = ""
    """What was asked for: `gallery@model`, or an address."""
    variant: str = ""
    """The entry that was installed in its place, as another build of the same model."""
    description: str = ""
    license: str = ""
    urls: tuple[str, ...] = ()
    files: tuple[EntryFile, ...] = ()
    templates: tuple[str, ...] = ()
    note: str = ""
    """What was chosen, and why."""
    likeness: str = ""
    """A digest of the request."""
    installed_at: float = 0.0

    @property
    def paths(self) -> tuple[str, ...]:
        return (*(file.filename for file in self.files if file.filename), *self.templates)


def path_of(models_path: Path, name: str) -> Path:
    """Return where a model's record lies."""
    return models_path / f"{PREFIX}{name}{SUFFIX}"


def read(models_path: Path, name: str) -> Record | None:
    """Read a model's record; None if it was not installed by a server, or its record cannot be read."""
    return _read(path_of(models_path, name))


def read_all(models_path: Path) -> list[Record]:
    """Read the records of all models in a folder."""
    found = (_read(path) for path in sorted(models_path.glob(f"{PREFIX}*{SUFFIX}")))
    return [record for record in found if record is not None]


def installed_names(models_path: Path, models: Iterable[str]) -> set[str]:
    """Return the names of the models in a folder, and of the galleries' entries that some were installed from."""
    return {*models, *(record.entry for record in read_all(models_path))}


def write(models_path: Path, record: Record) -> None:
    """Write a model's record, in the place of an older one."""
    write_whole(path_of(models_path, record.name), yamlfile.dump(msgspec.to_builtins(record)))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or as it was; raise `DownloadFailed` if that cannot be done."""
    try:
        replace_text(path, text, mode=0o644)  # as `open` would make it, for whoever else reads the folder
    except OSError as error:
        raise DownloadFailed(f"Cannot write {path}: {error.strerror or error}; check the models folder.") from error


def _read(path: Path) -> Record | None:
    try:
        content = yamlfile.parse(read_text(path, MOST_BYTES))
        kept = {key: value for key, value in content.items() if key in Record.__struct_fields__ and value is not None}
        name = path.name.removeprefix(PREFIX).removesuffix(SUFFIX)
        return msgspec.convert({**kept, "name": name}, Record)
    except (ConfigError, ValueError, AttributeError):
        return None
