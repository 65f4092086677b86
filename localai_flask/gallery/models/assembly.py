"""What is made of fetched files before a model can use them: one file of several parts, or a folder of an archive.

What is finished has its name, and nothing else ever has: a process that is killed leaves the parts for the next one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from localai_flask.config.references.reference import PICKLES, find_fault
from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import DownloadFailed, Stopped
from localai_flask.gallery.transport.part_file import put_in_place
from localai_flask.gallery.transport.room import check_room
from localai_flask.gallery.transport.unpacking import DAMAGED, is_plain_file

CHUNK = 1 << 20
MOST_FILES, MOST_BYTES = 10_000, 1 << 41
"""What an archive may hold."""


class Assembly(NamedTuple):
    """One file or folder to make, of paths relative to the models folder."""

    target: str
    pieces: tuple[str, ...]
    sha256: str = ""
    unpacks: bool = False
    takes_pickles: bool = False


def assemble(assembly: Assembly, models_path: Path, stopped: Callable[[], bool]) -> None:
    """Make the target of its pieces, and delete these; raise `ConfigError` if nothing can be made of them."""
    target, pieces = models_path / assembly.target, [models_path / piece for piece in assembly.pieces]
    try:
        if not target.exists():
            working = target.with_name(f".{target.name}.{os.getpid()}.part")
            try:
                if assembly.unpacks:
                    _unpack(pieces[0], working, assembly, stopped)
                    working.rename(target)
                else:
                    _join(pieces, working, assembly, stopped)
                    put_in_place(working, target)
            finally:
                _remove(working)
        for piece in pieces:
            piece.unlink(missing_ok=True)
    except OSError as error:
        raise DownloadFailed(f"Cannot make {target}: {error.strerror or error}; check the models folder.") from error


def _join(pieces: Sequence[Path], working: Path, assembly: Assembly, stopped: Callable[[], bool]) -> None:
    digest = hashlib.sha256()
    with open(working, "wb") as joined:
        for piece in pieces:
            with open(piece, "rb") as part:
                while chunk := part.read(CHUNK):
                    _check(stopped)
                    digest.update(chunk)
                    joined.write(chunk)
    if assembly.sha256 and digest.hexdigest() != assembly.sha256.lower():
        for piece in pieces:
            piece.unlink(missing_ok=True)
        raise ConfigError(
            f"{assembly.target} has the sha256 {digest.hexdigest()} when its parts are joined, where "
            f"{assembly.sha256} was asked for; they were thrown away."
        )


def _unpack(archive: Path, folder: Path, assembly: Assembly, stopped: Callable[[], bool]) -> None:
    """Unpack plain files below a folder; anything else in an archive of strangers is refused."""
    _remove(folder)
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            size = sum(entry.file_size for entry in entries)
            if len(entries) > MOST_FILES or size > MOST_BYTES:
                raise ConfigError(f"{archive.name} holds too much.")
            _check_names(entries, archive.name, assembly.takes_pickles)
            check_room(folder, size, assembly.target)
            for entry in entries:
                _take_out(opened, entry, folder / entry.filename, stopped)
    except ConfigError:
        archive.unlink(missing_ok=True)  # no later try could make anything of it
        raise
    except DAMAGED as error:
        archive.unlink(missing_ok=True)
        raise ConfigError(f"{archive.name} is no zip archive, or a damaged one ({error}).") from error


def _check_names(entries: Sequence[zipfile.ZipInfo], archive: str, takes_pickles: bool) -> None:
    """Raise `ConfigError` unless all entries are files that can lie in one folder."""
    folders = {str(parent) for entry in entries for parent in PurePosixPath(entry.filename).parents}
    for entry in entries:
        _check_entry(entry, archive)
        if entry.filename in folders:
            raise ConfigError(f"{archive} holds {entry.filename[:200]!r} both as a file and as a folder.")
        if entry.filename.lower().endswith(PICKLES) and not takes_pickles:
            raise ConfigError(
                f"{archive} holds {entry.filename[:200]!r}, a pickle, which may run code when it is read; install it "
                "with `trust_pickles: true` among the `overrides` if you trust where it comes from."
            )


def _check_entry(entry: zipfile.ZipInfo, archive: str) -> None:
    fault = find_fault(entry.filename) if is_plain_file(entry) else "is no plain file"
    if fault:
        raise ConfigError(f"{archive} holds {entry.filename[:200]!r}, which {fault}.")


def _take_out(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, stopped: Callable[[], bool]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with archive.open(entry) as source, open(target, "wb") as file:
        while chunk := source.read(CHUNK):
            _check(stopped)
            left -= len(chunk)
            if left < 0:
                raise ConfigError(f"{entry.filename} is larger than the archive says.")
            file.write(chunk)


def _check(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise Stopped("The installation was stopped; what was received is kept.")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
