"""The one downloader: a file is there whole and checked under its name, or not at all.

What is on its way lies beside it under a name of its own, `<name>.part`, which is also the lock: whoever wants the same
file waits, in this process or another, and finds it there. A process may be killed at any instant.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from urllib.parse import urlsplit

from localai_flask.config.references.reference import find_fault
from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import DownloadFailed, Stopped
from localai_flask.gallery.progress import Progress, Report, megabytes
from localai_flask.gallery.remote import Remote, open_session
from localai_flask.gallery.sources import pip_settings
from localai_flask.gallery.sources.offer import RemoteFile
from localai_flask.gallery.transfer import Transfer
from localai_flask.gallery.unpacking import find_member, unpack

LOOK_S = 0.2
"""How often to look whether another process has brought a file."""
SPARE_BYTES = 16 << 20
"""What is left free on the disk."""


def fetch_files(
    files: Sequence[RemoteFile], models_path: Path, *, report: Report, stopped: Callable[[], bool]
) -> list[Path]:
    """Fetch those of some files that are not there, one after the other, and return where all of them are.

    The reports are on all of them together. Raises what `download` raises, `Stopped` as soon as it is, and
    `ConfigError` if a name is none for a file in the models folder.
    """
    for file in files:
        if fault := find_fault(file.path):
            raise ConfigError(f"A file cannot be called {file.path!r} in the models folder: the name {fault}.")
    sizes = [file.archive_size if file.member else file.size for file in files]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    before, paths = 0, []
    for file, size in zip(files, sizes, strict=True):
        paths.append(models_path / file.path)
        download(_connect(file), paths[-1], file.sha256 or "", _shifted(report, before, total, stopped))
        before += size or 0
    return paths


def _connect(file: RemoteFile) -> Remote:
    session = pip_settings.open_pip_session(pip_settings.read_settings()) if file.through_pip else open_session()
    session.headers.update(file.headers)
    name = urlsplit(file.url).path.rpartition("/")[2]
    if file.member:
        return Remote(file.url, name, file.archive_sha256 or "", file.archive_size, file.member, session)
    return Remote(file.url, name, file.sha256 or "", file.size, session=session)


def _shifted(report: Report, before: int, total: int | None, stopped: Callable[[], bool]) -> Report:
    """Report one file's progress as a part of that of all files."""

    def shifted(progress: Progress) -> None:
        if stopped():
            raise Stopped("The download was stopped; what was received is kept.")
        report(progress if total is None else Progress(before + progress.done, total, progress.rate))

    return shifted


def download(remote: Remote, target: Path, sha256: str, report: Report) -> None:
    """Fetch a file to `target`, unless it is there; `sha256` is that of the file itself, "" if nobody says it.

    Raises `DownloadFailed` where a later try may help, `ConfigError` where the address or what it leads to is wrong.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _turn(target, remote, report) as part:
            if part is not None:
                _fetch(remote, part, target, sha256, report)
    except OSError as error:
        raise DownloadFailed(
            f"Cannot write {target.name} in {target.parent}: {error.strerror or error}; check the folder."
        ) from error


def _fetch(remote: Remote, part: BufferedRandom, target: Path, sha256: str, report: Report) -> None:
    received = part.seek(0, os.SEEK_END)
    if remote.size is not None:
        copies = 2 if remote.member else 1  # an archive and what is taken out of it
        _check_room(target, remote.size * copies - received)
    Transfer(remote, part, report).run()
    part.flush()
    try:
        if remote.member:
            _take_out(remote, part, target, sha256)
        else:
            part.seek(0)
            _check_sum(hashlib.file_digest(part, "sha256").hexdigest(), sha256, target)
            _put_in_place(_part_of(target), target)
    except ConfigError:
        part.truncate(0)  # no later try could make anything of it
        raise


def _take_out(remote: Remote, part: BufferedRandom, target: Path, sha256: str) -> None:
    entry = find_member(part, remote.member, remote.name)
    _check_room(target, entry.file_size)
    unpacked = target.with_name(target.name + ".unpacked.part")
    try:
        found = unpack(part, entry, unpacked, remote.name)
        _check_sum(found, sha256, target)
        _put_in_place(unpacked, target)
    finally:
        unpacked.unlink(missing_ok=True)
    os.unlink(_part_of(target))


def _check_sum(found: str, wanted: str, target: Path) -> None:
    if wanted and found != wanted.lower():
        raise ConfigError(f"{target.name} has the sha256 {found} where {wanted} was asked for; it was thrown away.")


def _put_in_place(file: Path, target: Path) -> None:
    """Move a finished file to its name, also if the machine loses power in this moment."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(file, target)


def _check_room(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if needed + SPARE_BYTES > free:
        raise DownloadFailed(
            f"There is no room for {target.name} in {target.parent}: it takes {megabytes(needed)} more, and "
            f"{megabytes(free)} are free."
        )


def _part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


@contextmanager
def _turn(target: Path, remote: Remote, report: Report) -> Iterator[BufferedRandom | None]:
    """Hold the part file as the only one; None if the file is there, brought by another meanwhile."""
    path = _part_of(target)
    while not target.exists():
        with open(path, "a+b") as part:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report(Progress(os.fstat(part.fileno()).st_size, remote.size, 0.0))
                time.sleep(LOOK_S)
                continue
            try:
                if _is_still(part, path) and not target.exists():
                    yield part
                    return
            finally:
                if _is_still(part, path) and not os.fstat(part.fileno()).st_size:
                    path.unlink()
    yield None


def _is_still(part: BufferedRandom, path: Path) -> bool:
    """Return whether the open file has this name: the one who had the lock before may have moved or removed it."""
    try:
        return os.path.samestat(os.fstat(part.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
