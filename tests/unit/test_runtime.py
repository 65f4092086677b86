"""The runtime directory: private, swept when its server is dead, and refused where it cannot work."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.pool import runtime as runtime_directory
from localai_flask.pool.runtime import LOCK, PREFIX, Runtime, is_alive, sweep


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder whose path is short: sockets lie in it, whose paths may have 107 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def dead_pid() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_it_is_private_and_goes_when_it_is_removed(tmp_path: Path) -> None:
    runtime = Runtime.create(tmp_path)
    assert runtime.path.stat().st_mode & 0o777 == 0o700
    assert runtime.arbiter_pid == os.getpid()
    assert len(runtime.key) == 32
    runtime.remove()
    assert not list(tmp_path.iterdir())


def test_what_dead_servers_left_is_swept_and_nothing_else(tmp_path: Path, dead_pid: int) -> None:
    elsewhere = tmp_path / f"{PREFIX}{dead_pid}-elsewhere"  # a live server's in another container, with other pids
    elsewhere.mkdir()
    held = os.open(elsewhere / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    older, fresh = tmp_path / f"{PREFIX}{dead_pid}-older", tmp_path / f"{PREFIX}{dead_pid}-fresh"
    for folder in (older, fresh):
        folder.mkdir()
    os.utime(older, (0, 0))
    dead, link = tmp_path / f"{PREFIX}{dead_pid}-x", tmp_path / f"{PREFIX}{dead_pid}-link"
    kept = [tmp_path / f"{PREFIX}{os.getppid()}-x", tmp_path / "other", tmp_path / f"{PREFIX}{dead_pid}-file"]
    for folder in (dead, *kept[:2]):
        folder.mkdir()
    kept[2].touch()
    (dead / "manager.sock").touch()
    (dead / LOCK).touch()
    link.symlink_to(kept[1])
    Runtime.create(tmp_path)
    assert not dead.exists() and not older.exists()
    assert elsewhere.exists() and fresh.exists()
    os.close(held)
    assert all(path.exists() for path in (*kept, link))


def test_a_server_that_starts_is_not_swept_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sweep_before(descriptor: int, how: int) -> None:
        monkeypatch.undo()
        sweep(tmp_path)
        fcntl.flock(descriptor, how)

    monkeypatch.setattr(runtime_directory.fcntl, "flock", sweep_before)
    runtime = Runtime.create(tmp_path)
    sweep(tmp_path)
    assert runtime.path.exists() and (runtime.path / LOCK).exists()
    runtime.remove()


def test_a_path_too_long_for_a_socket_is_refused_at_once(tmp_path: Path) -> None:
    base = tmp_path / ("x" * 100)
    base.mkdir()
    with pytest.raises(OSError, match="too long for the path of a socket"):
        Runtime.create(base)
    assert not list(base.iterdir())


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid)
    child.wait()
