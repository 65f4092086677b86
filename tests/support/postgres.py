"""A PostgreSQL server of a test's own, from the binaries of Debian's package, on a socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import children, end, end_group, wait_for
from tests.support.required import skip_without

USER = "postgres"
"""PostgreSQL does not run as root; Debian's package makes this user."""


def binaries() -> Path:
    """Return the newest version's folder of binaries, or skip the test."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else skip_without("postgresql")


class PostgresServer:
    """A server that can be stopped and started again over the same data."""

    def __init__(self, bin: Path, folder: Path):
        self.bin = bin
        self.folder = folder
        self.url = f"postgresql://{USER}@/postgres?host={folder}"
        self._user = USER if os.getuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        initdb = [bin / "initdb", "--auth=trust", "--no-sync", f"--username={USER}", folder / "data"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=self._user, cwd="/")

    def start(self) -> None:
        options = ["-c", "listen_addresses=", "-c", "fsync=off"]
        command = [self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder, *options]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, user=self._user, cwd="/", start_new_session=True
            )
        ready = [self.bin / "pg_isready", "-q", "-h", self.folder, "-U", USER]
        try:
            wait_for(lambda: subprocess.run(ready).returncode == 0, 30, "PostgreSQL is ready")
        except BaseException:
            end_group(self._process)
            raise

    def stop(self) -> None:
        """Hang up on all clients, and end."""
        end(self._process, signal.SIGINT, 30)


@contextmanager
def controlled() -> Iterator[PostgresServer]:
    """Run a server that the test may stop and start; the machine's other users cannot see its folder."""
    bin = binaries()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short, as a socket's path has to be
    try:
        server = PostgresServer(bin, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running() -> Iterator[str]:
    """Run a server, and give the URL of its database."""
    with controlled() as server:
        yield server.url


def processes(url: str) -> list[int]:
    """Return the processes of a running server: the one that listens and those of its connections."""
    folder = Path(url.rpartition("host=")[2])
    postmaster = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    return [postmaster, *children(postmaster)]
