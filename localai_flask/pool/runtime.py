"""The runtime directory: where the pool's processes of one server find each other.

Made by gunicorn's arbiter (mode 0700), named after its pid, and removed when it leaves; what a killed server left
is swept at the next start. It holds the manager's socket and key, the counts of all processes, and each model's log.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from localai_flask.address import LONGEST_SOCKET_PATH
from localai_flask.server.processes.child import Child

PREFIX = "localai-flask-"
ENV = "LOCALAI_FLASK_RUNTIME_DIR"
LOCK = "lock"
HANDS = "*.hand"
SETTLED_S = 10.0
"""A directory younger than this may not have its lock yet."""
REMOVALS, REMOVAL_PAUSE_S = 20, 0.05
_held: dict[Path, int] = {}
"""The descriptors of this process's locks."""


@dataclass(frozen=True)
class Runtime:
    """One server's runtime directory."""

    path: Path

    @classmethod
    def create(cls, base: Path | None = None) -> Runtime:
        """Make a fresh directory for the server whose arbiter is this process, and sweep those of dead ones.

        Raises `OSError` if `base` cannot hold it.
        """
        base = (base or Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())).absolute()
        sweep(base)
        runtime = cls(Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base)))
        if len(os.fsencode(runtime.manager_socket)) > LONGEST_SOCKET_PATH:
            runtime.remove()
            raise OSError(errno.ENAMETOOLONG, "too long for the path of a socket", str(base))
        runtime._hold()
        with open(os.open(runtime._key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(32))
        return runtime

    @classmethod
    def from_environment(cls) -> Runtime:
        """Find the directory that the arbiter made; raise `RuntimeError` outside of a running server."""
        path = os.environ.get(ENV)
        if not path:
            raise RuntimeError(
                f"{ENV} is not set: start the server with `localai-flask serve` or gunicorn's gunicorn.conf.py."
            )
        return cls(Path(path))

    @classmethod
    def keys_copy(cls) -> Path | None:
        """Return where the API keys that were last read from a good file are kept; None outside of a server."""
        return Path(os.environ[ENV]) / "api-keys.yaml" if os.environ.get(ENV) else None

    @property
    def settings_file(self) -> Path:
        """Where the settings stand since a reload (announced_settings.py)."""
        return self.path / "settings.json"

    @property
    def _key_file(self) -> Path:
        return self.path / "key"

    @property
    def key(self) -> bytes:
        """The secret that manager and clients prove to each other."""
        return self._key_file.read_bytes()

    @property
    def manager_socket(self) -> Path:
        return self.path / "manager.sock"

    def worker_hand(self, worker_id: str) -> Path:
        """Return the file that tells which request a worker had in hand (in_hand.py), locked as long as it lives."""
        return self.path / f"{worker_id}.hand"

    def lock_worker_hand(self, worker_id: str) -> int:
        """Make and lock a new worker's file; it is locked until the last process that has the descriptor has ended.

        Raises `OSError` if it cannot be made.
        """
        lock = os.open(self.worker_hand(worker_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def living_workers(self) -> set[str]:
        """Return the ids of the model workers that run, whichever manager started them, whether or not it is known."""
        return {path.stem for path in self.path.glob(HANDS) if _is_there_and_locked(path)}

    def remove_worker_files(self, but: set[str]) -> None:
        """Remove what workers left, except for these."""
        for path in self.path.glob(HANDS):
            if path.stem not in but:
                path.unlink(missing_ok=True)

    @property
    def arbiter_pid(self) -> int:
        return _pid_of(self.path)

    @property
    def server_name(self) -> str:
        """A name that differs from every other server's, and from this one's before a restart."""
        return f"{socket.gethostname()}:{self.path.name}"

    def remove(self) -> None:
        """Remove the directory, whatever a process that is ending still puts there meanwhile."""
        for _ in range(REMOVALS):
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                break
            time.sleep(REMOVAL_PAUSE_S)
        if (lock := _held.pop(self.path, None)) is not None:
            os.close(lock)

    def _hold(self) -> None:
        """Lock the directory for as long as this process lives, or one that it has forked."""
        fresh = self.path / f"{LOCK}.new"
        _held[self.path] = lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh.rename(self.path / LOCK)  # only now, as a server that starts meanwhile sweeps what nobody has locked


def sweep(base: Path) -> None:
    """Remove the runtime directories of servers that no longer run; leave those of other users alone."""
    for path in base.glob(PREFIX + "*"):
        if _is_ours(path) and not _is_held(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_held(path: Path) -> bool:
    """Return whether a server has a directory; a lock also shows one in another container, whose pids say nothing."""
    try:
        return _is_locked(path / LOCK)
    except OSError:  # it has just been made, or is a former version's
        return is_alive(_pid_of(path)) or time.time() - path.lstat().st_mtime < SETTLED_S


def _is_locked(path: Path) -> bool:
    lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _is_there_and_locked(path: Path) -> bool:
    try:
        return _is_locked(path)
    except FileNotFoundError:
        return False


def _is_ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _pid_of(path: Path) -> int:
    digits = path.name.removeprefix(PREFIX).partition("-")[0]
    return int(digits) if digits.isdigit() else 0


def is_alive(pid: int) -> bool:
    """Return whether a process runs; unlike for `kill(pid, 0)` a zombie does not count."""
    process = Child(pid)
    try:
        return not process.has_ended
    finally:
        process.close()
