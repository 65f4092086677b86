"""Where a file goes in the models folder, and whether what is there already is that file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from localai_flask.config.references.reference import find_fault_of_file
from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import NameTaken
from localai_flask.gallery.sources.offer import RemoteFile
from localai_flask.gallery.transport.transfer import git_sha1

CHUNK = 1 << 22


def choose_targets(files: Sequence[RemoteFile], models_path: Path) -> list[Path]:
    """Return where each file goes; raise `ConfigError` if a name is none for a file there.

    Names that differ only in case are refused, since they are one file on the disks of other systems; so is a link
    that leads out of the models folder, and what `find_fault_of_file` finds.
    """
    for file in files:
        if fault := find_fault_of_file(file.path):
            raise ConfigError(f"A file cannot be called {file.path!r} in the models folder: the name {fault}.")
    folded = [file.path.casefold() for file in files]
    if twice := next((file.path for file, fold in zip(files, folded, strict=True) if folded.count(fold) > 1), None):
        raise ConfigError(f"Two of the files would be called {twice!r}, or differ only in case.")
    return [_find_target(models_path, PurePosixPath(file.path)) for file in files]


def _find_target(models_path: Path, path: PurePosixPath) -> Path:
    place, root = models_path, models_path.resolve()
    for part in path.parts:
        other = next((name for name in _names(place) if name != part and name.casefold() == part.casefold()), None)
        if other is not None:
            raise NameTaken(f"{place / other} is there, and {part} would differ from it only in case; rename one.")
        place = place / part
        if place.is_symlink() and not (place.exists() and place.resolve().is_relative_to(root)):
            raise NameTaken(f"{place} is a link that leads out of the models folder; replace it by a file or folder.")
    return place


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_present(file: RemoteFile, target: Path, check_wanted: Callable[[], None]) -> bool:
    """Return whether the file is at its place; raise `NameTaken` if another one is.

    `check_wanted` is called now and then.
    """
    if not target.exists():
        return False
    if not target.is_file():
        raise NameTaken(f"{target} is no file; remove or rename it.")
    size = target.stat().st_size
    if file.size is not None and size != file.size:
        raise NameTaken(f"{target} is another file: it has {size} bytes, and not {file.size}; remove or rename it.")
    wanted = file.sha256 or file.git_sha1
    if wanted and _sum(target, is_git=not file.sha256, check_wanted=check_wanted) != wanted.lower():
        raise NameTaken(f"{target} is another file: its checksum is not {wanted}; remove or rename it.")
    return True


def _sum(path: Path, *, is_git: bool, check_wanted: Callable[[], None]) -> str:
    with open(path, "rb") as opened:
        if is_git:
            return git_sha1(opened)
        digest = hashlib.sha256()
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
            check_wanted()
        return digest.hexdigest()
