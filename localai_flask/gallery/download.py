"""The one downloader: a file is there whole and checked under its name, or not at all.

What is on its way lies beside it under a name of its own (`part_file`), which is also the lock: a file is fetched once,
however many want it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from localai_flask.config.files.gguf import inspect
from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import DownloadFailed, Stopped
from localai_flask.gallery.progress import Progress, Report
from localai_flask.gallery.sources import RemoteFile, connect
from localai_flask.gallery.transport.part_file import PartFile, hold_part, part_of, put_in_place
from localai_flask.gallery.transport.remote import Remote
from localai_flask.gallery.transport.room import check_room
from localai_flask.gallery.transport.targets import choose_targets, is_present
from localai_flask.gallery.transport.transfer import Transfer
from localai_flask.gallery.transport.unpacking import find_member, unpack

LOOK_S = 0.2
"""How often to look whether another process has brought a file."""


def fetch_files(
    files: Sequence[RemoteFile], models_path: Path, *, report: Report, stopped: Callable[[], bool]
) -> list[Path]:
    """Fetch those of some files that are not there, one after the other, and return where all of them are.

    The reports are on all of them together.

    Raises `DownloadFailed` where a later try may help, `ConfigError` where an address or what it leads to is wrong,
    `NameTaken` if another file is in the place of one, and `Stopped` soon after that is true.
    """
    targets = choose_targets(files, models_path)
    whole = _Whole(files, report, stopped)
    try:
        missing = []
        for file, target in zip(files, targets, strict=True):
            if is_present(file, target, whole.check_wanted):
                whole.skip(file)
            else:
                missing.append((file, target))
        _check_room_for_all(missing, models_path)
        for file, target in missing:
            target.parent.mkdir(parents=True, exist_ok=True)
            _Download(file, target, whole).run()
            whole.skip(file)
    except OSError as error:
        raise DownloadFailed(
            f"Cannot write {error.filename or models_path}: {error.strerror or error}; check the folder."
        ) from error
    return targets


class _Whole:
    """Puts what is reported of one file together with the others."""

    def __init__(self, files: Sequence[RemoteFile], report: Report, stopped: Callable[[], bool]):
        sizes = [file.sent_size for file in files]
        self._total = None if None in sizes else sum(size for size in sizes if size is not None)
        self._is_alone = len(files) == 1
        self._before = self._last = 0
        """Bytes of the files before, and of the one that is coming."""
        self._report, self._stopped = report, stopped
        self.name = ""

    def skip(self, file: RemoteFile) -> None:
        """Count a file as there."""
        self._before += file.sent_size or self._last
        self._last = 0

    def check_wanted(self) -> None:
        if self._stopped():
            raise Stopped("The download was stopped; what was received is kept.")

    def __call__(self, progress: Progress) -> None:
        self.check_wanted()
        self._last = progress.done
        total = progress.total if self._is_alone else self._total
        self._report(progress._replace(done=self._before + progress.done, total=total, file=self.name))


class _Download:
    """One file on its way to its place."""

    def __init__(self, file: RemoteFile, target: Path, report: _Whole):
        self._file, self._target, self._report = file, target, report
        self._report.name = file.path

    def run(self) -> None:
        """Fetch the file, or wait until another process has done so."""
        while True:
            with hold_part(self._target) as part:
                if part is not None:
                    self._fetch(part)
                    return
            if is_present(self._file, self._target, self._report.check_wanted):
                return
            self._wait()

    def _wait(self) -> None:
        part = part_of(self._target)
        done = part.stat().st_size if part.exists() else 0
        self._report(Progress(done, self._file.sent_size, 0.0))
        time.sleep(LOOK_S)

    def _fetch(self, part: PartFile) -> None:
        remote = _connect(self._file)
        # An archive and what is taken out of it lie on the disk together.
        Transfer(remote, part, self._report, lambda size: self._check_room(size * (2 if remote.member else 1))).run()
        part.file.flush()
        try:
            if remote.member:
                self._take_out(part, remote)
            else:
                self._check_kind(part.path)
                part.move_to(self._target)
        except ConfigError:
            part.file.truncate(0)  # no later try could make anything of it
            raise

    def _take_out(self, part: PartFile, remote: Remote) -> None:
        entry = find_member(part.file, remote.member, remote.name)
        self._check_room(entry.file_size)
        unpacked = self._target.with_name(self._target.name + ".unpacked.part")
        try:
            found, wanted = unpack(part.file, entry, unpacked, remote.name), self._file.sha256
            if wanted and found != wanted.lower():
                raise ConfigError(
                    f"{self._target.name} has the sha256 {found} where {wanted} was asked for; it was thrown away."
                )
            self._check_kind(unpacked)
            put_in_place(unpacked, self._target)
        finally:
            unpacked.unlink(missing_ok=True)
        part.remove()

    def _check_kind(self, path: Path) -> None:
        """Raise `ConfigError` if a file without any checksum is not what its name says, or is cut off."""
        file = self._file
        has_sum = file.sha256 or file.git_sha1 or (file.member and file.archive_sha256)
        if not has_sum and self._target.name.lower().endswith(".gguf"):
            inspect(path)

    def _check_room(self, needed: int) -> None:
        check_room(self._target.parent, needed, self._target.name)


def _connect(file: RemoteFile) -> Remote:
    name = urlsplit(file.url).path.rpartition("/")[2]
    sha256 = file.archive_sha256 if file.member else file.sha256
    git_sha1 = "" if file.member else file.git_sha1 or ""
    return Remote(
        file.url, name, (sha256 or "").lower(), file.sent_size, file.member, connect(file), file.headers, git_sha1
    )


def _check_room_for_all(missing: Sequence[tuple[RemoteFile, Path]], models_path: Path) -> None:
    """Raise `DownloadFailed` unless all files have room, before the first one is fetched."""
    needed, names = 0, []
    for file, target in missing:
        part = part_of(target)
        copies = 2 if file.member else 1
        needed += (file.sent_size or 0) * copies - (part.stat().st_size if part.exists() else 0)
        names.append(target.name)
    if needed > 0:
        models_path.mkdir(parents=True, exist_ok=True)
        check_room(models_path, needed, names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more")
