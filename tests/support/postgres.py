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

from tests.support.processes import children, wait_for
from tests.support.required import skip_without

USER = "postgres"
"""PostgreSQL does not run as root; Debian's package makes this user."""


def binaries() -> Path:
    """Return the newest version's folder of binaries, or skip the test."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else skip_without("postgresql")


@contextmanager
def running() -> Iterator[str]:
    """Run a server, and give the URL of its database; the machine's other users cannot see its folder."""
    bin = binaries()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short, as a socket's path has to be
    user = USER if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    try:
        initdb = [bin / "initdb", "--auth=trust", "--no-sync", f"--username={USER}", folder / "data"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")
        command = [bin / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with open(folder / "log", "wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd="/")
        try:
            ready = [bin / "pg_isready", "-q", "-h", folder, "-U", USER]
            wait_for(lambda: subprocess.run(ready).returncode == 0, 30, "PostgreSQL is ready")
            yield f"postgresql://{USER}@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def processes(url: str) -> list[int]:
    """Return the processes of a running server: the one that listens and those of its connections."""
    folder = Path(url.rpartition("host=")[2])
    postmaster = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    return [postmaster, *children(postmaster)]
