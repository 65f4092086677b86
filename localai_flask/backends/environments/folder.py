"""The folder of environments: which are installed, who installs one now, and what ended installations have left.

    NAME/lock                held by whoever installs or deletes
    NAME/environment.json    says which folder counts; replaced when that is whole, so that half of one never does
    NAME/<id>/               the environment, built where it stays, as its scripts name their interpreter by its path
    NAME/<id>/in-use         held by the workers that run on it

Anybody may be killed at any time; the next who installs sweeps away the folders that do not count.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from localai_flask.atomic_file import replace_file
from localai_flask.errors import ServerConfigError, Unavailable

RECORD = "environment.json"
LOCK, IN_USE, LOG = "lock", "in-use", "install.log"
LOOKS, LOOK_S = 5, 0.02
NAME, FOLDER = re.compile(r"[\w-]+"), re.compile(r"[0-9a-f]{8}")
"""What is ours: the folder may be one in which others keep theirs, as LocalAI does."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an installed environment; `folder` is where it lies beside this."""

    folder: str
    platform: str
    version: str
    """That of the engine's package."""
    digest: str
    """That of the requirement set."""
    python: str
    """The version of its interpreter; "" if it is a program."""
    size: int
    installed_at: float
    program: str = ""
    """The program that it is, by its file."""


class Environment:
    """An installed environment."""

    def __init__(self, name: str, home: Path, record: Record):
        self.name, self.record = name, record
        self.path = home / record.folder

    @property
    def program(self) -> Path | None:
        """The program that it is; None if it is an interpreter with packages."""
        return self.path / self.record.program if self.record.program else None

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def fault(self) -> str:
        """Why no worker can run on it, as far as its files show that; "" if they do not."""
        if not self.path.is_dir():
            return f"its folder {self.path} is gone"
        if self.program is not None:
            return "" if self.program.exists() else f"its program {self.program} is gone"
        if not self.python.exists():
            return f"its interpreter {os.path.realpath(self.python)} is gone"
        if not (self.path / "lib" / f"python{self.record.python}" / "site-packages").is_dir():
            return f"its packages for Python {self.record.python} are gone"
        return ""

    def hold(self) -> int:
        """Return a descriptor that keeps it from being deleted until all its copies are closed.

        Raises `OSError` if it is being deleted.
        """
        descriptor = os.open(self.path / IN_USE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _flock(descriptor, fcntl.LOCK_SH)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


class Environments:
    """The environments in one folder."""

    def __init__(self, path: Path):
        self.path = path

    def find(self, name: str) -> Environment | None:
        """Return the environment of this name that counts; None if there is none."""
        try:
            content = (self.path / name / RECORD).read_bytes()
            return Environment(name, self.path / name, msgspec.json.decode(content, type=Record))
        except (OSError, msgspec.MsgspecError):
            return None

    @contextmanager
    def locked(self, name: str) -> Iterator[int]:
        """Be the only one to change an environment; yields the lock, for child processes to inherit.

        Raises `Unavailable` if somebody else does, `ServerConfigError` if the folder cannot be written to.
        """
        try:
            lock = _lock(self.path / name / LOCK)
        except BlockingIOError:
            raise Unavailable(f"Another process is installing or deleting {name}; try again when it is done.") from None
        except OSError as error:
            raise ServerConfigError(
                f"The folder of environments {self.path} cannot be written to ({error.strerror}); "
                "LOCALAI_BACKENDS_PATH names another."
            ) from error
        try:
            yield lock
        finally:
            os.close(lock)

    def delete(self, name: str, *, force: bool = False) -> int | None:
        """Remove an environment and all that lies there; return how many bytes it took, None if there was nothing.

        Raises `Unavailable` if a worker runs on it, unless it is by force.
        """
        home = self.path / name
        if not NAME.fullmatch(name) or not (home / LOCK).is_file():
            return None
        with self.locked(name):
            found = self.find(name)
            if found is not None and is_in_use(found.path) and not force:
                raise Unavailable(f"A model runs on {name}; unload it with `localai-flask stop MODEL`, and try again.")
            (home / RECORD).unlink(missing_ok=True)
            for folder in self.remnants(name):
                if force or not is_in_use(folder):
                    shutil.rmtree(folder, ignore_errors=True)
            if not self.remnants(name):
                for file in (LOG, LOCK):
                    (home / file).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # others have something there too
                    home.rmdir()
        return found.record.size if found is not None else 0

    # Under the lock.

    def put(self, name: str, record: Record) -> Environment:
        """Have a folder count from now on, and remove the one before."""
        content = msgspec.json.format(msgspec.json.encode(record), indent=2)
        replace_file(self.path / name / RECORD, content, mode=0o644)
        self.sweep(name)
        return Environment(name, self.path / name, record)

    def sweep(self, name: str) -> None:
        """Remove folders that do not count and on which no worker runs."""
        for folder in self.remnants(name):
            if not is_in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)

    # Anybody.

    def remnants(self, name: str) -> list[Path]:
        """List folders that do not count: of ended or running installations, or of workers of a former version."""
        found = self.find(name)
        try:
            folders = [entry for entry in (self.path / name).iterdir() if FOLDER.fullmatch(entry.name)]
        except OSError:
            return []
        return [folder for folder in folders if found is None or folder != found.path]

    def is_being_changed(self, name: str) -> bool:
        """Return whether somebody installs or deletes it now."""
        return _is_locked(self.path / name / LOCK)


def is_in_use(folder: Path) -> bool:
    """Return whether a worker runs on the environment in a folder."""
    return _is_locked(folder / IN_USE)


def _lock(file: Path) -> int:
    """Lock a file, and the one that has its name then: who had the lock before may have deleted it."""
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _flock(lock, fcntl.LOCK_EX)
            if file.exists() and os.path.samestat(os.fstat(lock), file.stat()):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _flock(descriptor: int, kind: int) -> None:
    """Lock a file unless another process has it for longer than `_is_locked` does."""
    for _ in range(LOOKS - 1):
        try:
            return fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOOK_S)
    fcntl.flock(descriptor, kind | fcntl.LOCK_NB)


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
