"""The runtime directory: where the pool's processes of one server find each other.

Made by gunicorn's arbiter (mode 0700), named after its pid, and removed when it leaves; what a killed server left
is swept at the next start. It holds the manager's socket and key, and each model worker's standard error.
"""

from __future__ import annotations

import os
import select
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

PREFIX = "localai-flask-"
ENV = "LOCALAI_FLASK_RUNTIME_DIR"


@dataclass(frozen=True)
class Runtime:
    """One server's runtime directory."""

    path: Path

    @classmethod
    def create(cls, base: Path | None = None) -> Runtime:
        """Make a fresh directory for the server whose arbiter is this process, and sweep those of dead ones."""
        base = base or Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        sweep(base)
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
        runtime = cls(path)
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

    def worker_log(self, worker_id: str) -> Path:
        return self.path / f"{worker_id}.log"

    @property
    def arbiter_pid(self) -> int:
        return _pid_of(self.path)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(base: Path) -> None:
    """Remove the runtime directories of servers that no longer run; leave those of other users alone."""
    for path in base.glob(PREFIX + "*"):
        if _is_ours(path) and not is_alive(_pid_of(path)):
            shutil.rmtree(path, ignore_errors=True)


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
    """Tell whether a process runs; unlike `kill(pid, 0)` a zombie does not count."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)
