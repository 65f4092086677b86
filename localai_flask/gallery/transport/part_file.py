"""What has come of a file that is on its way: `<name>.part`, which is the lock too, and where it comes from.

Whoever wants the same file waits, in this process or another, and finds it there. A process may be killed at any time.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

from localai_flask.gallery.transport.remote import Remote, shown


class PartFile:
    """The part file of one target, held by nobody else while it is open."""

    def __init__(self, target: Path, file: BufferedRandom):
        self.path, self.file = part_of(target), file
        self._origin = target.with_name(target.name + ".origin.part")

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def read_validator(self, remote: Remote) -> str:
        """Return by what the server knows the version that was received so far; "" if that is not known."""
        try:
            origin = json.loads(self._origin.read_text())
            return str(origin["validator"]) if origin["url"] == shown(remote.url) else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def write_validator(self, remote: Remote, validator: str) -> None:
        """Keep it for a later process; to be called before the first byte of that version is written."""
        made = self._origin.with_name(self._origin.name + ".tmp")
        made.write_text(json.dumps({"url": shown(remote.url), "validator": validator}))
        os.replace(made, self._origin)

    def move_to(self, target: Path) -> None:
        put_in_place(self.path, target)
        self._origin.unlink(missing_ok=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def put_in_place(file: Path, target: Path) -> None:
    """Move a finished file to its name, also if the machine loses power in this moment."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(file, target)


@contextmanager
def hold_part(target: Path) -> Iterator[PartFile | None]:
    """Hold the part file as the only one; None if another holds it, or has just brought the file."""
    path = part_of(target)
    with open(path, "a+b", opener=_open_no_link) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        part = PartFile(target, file)
        try:
            yield part if _is_still(file, path) and not target.exists() else None
        finally:
            if _is_still(file, path) and not part.size:
                part.remove()


def _open_no_link(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link; remove it", path) from None
        raise


def _is_still(file: BufferedRandom, path: Path) -> bool:
    """Return whether the open file has this name: the one who had the lock before may have moved or removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
