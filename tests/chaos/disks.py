"""Blows to disks and to the database's file. They need mounts of their own, so only root can deal them."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.chaos.blows import Blow, Strike
from tests.chaos.families import FAMILIES
from tests.chaos.promises import Effects
from tests.chaos.stage import Stage

SIZES_MB = {"state": 24, "run": 8}
FILL_S = 0.5
SHM_MB = 64
"""What a container has."""
INSIDE = "CHAOS_HAS_MOUNTS"


def enter_namespace() -> None:
    """Run this program anew with mounts that nobody else sees, if that is allowed."""
    if INSIDE in os.environ or os.getuid() != 0 or not _may_mount():
        return
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "-m", sys.executable, "-m", "tests.chaos", *sys.argv[1:]])


def _may_mount() -> bool:
    trial = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(trial, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def has_mounts() -> bool:
    """Return whether this process has mounts of its own, shared memory among them."""
    return INSIDE in os.environ


def mount_small_disks(scratch: Path) -> None:
    """Put under a stage's folders disks that can be filled, and shared memory the size of a container's."""
    for name, size in SIZES_MB.items():
        (scratch / name).mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(scratch / name))
    _mount("-t", "tmpfs", "-o", f"size={SHM_MB}m", "tmpfs", "/dev/shm")


def unmount_small_disks(scratch: Path) -> None:
    for name in SIZES_MB:
        if (scratch / name).is_mount():
            subprocess.run(["umount", "-l", str(scratch / name)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Have a disk without a byte to spare, whatever else is deleted meanwhile."""
    ballast, over = folder / "ballast", threading.Event()

    def fill() -> None:
        with open(ballast, "ab", buffering=0) as file:
            for size in itertools.chain((1 << 20, 4096), itertools.repeat(1)):
                with contextlib.suppress(OSError):
                    while not over.is_set():
                        file.write(bytes(size))
                if over.wait(0.001):
                    return

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        ballast.unlink()


def _fill(place: Callable[[Stage], Path], *victims: str) -> Strike:
    """Fill a disk, and kill a process of each of these roles, so that another has to start without room."""

    @contextmanager
    def strike(stage: Stage, rng: random.Random) -> Iterator[None]:
        with _filled(place(stage)):
            time.sleep(FILL_S)
            for role in victims:
                os.kill(rng.choice(stage.pids(role)), signal.SIGKILL)
            yield

    return strike


@contextmanager
def _fill_database(stage: Stage, rng: random.Random) -> Iterator[None]:
    """Fill the database's disk, and take the room away that its log of changes has already."""
    _shorten_log(stage.database)
    with _filled(stage.state):
        yield


def _shorten_log(path: Path) -> None:
    """Have all that SQLite has written lie in the file itself, and nothing in its log."""
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _lock(stage: Stage, rng: random.Random) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(stage.database, timeout=20, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


@contextmanager
def _corrupt(stage: Stage, rng: random.Random) -> Iterator[None]:
    """Write over the database's pages; whoever runs the server then takes the file away."""
    path = stage.database
    _shorten_log(path)
    with open(path, "r+b") as file:
        file.seek(0)
        file.write(rng.randbytes(max(100_000, path.stat().st_size // 2)))
    yield
    _remove(path)


def _remove(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


@contextmanager
def _take_away(stage: Stage, rng: random.Random) -> Iterator[None]:
    _remove(stage.database)
    yield


@contextmanager
def _read_only(stage: Stage, rng: random.Random) -> Iterator[None]:
    """Have the database's disk take nothing more, as after an error of the device."""
    _mount("--bind", str(stage.state), str(stage.state))
    _mount("-o", "remount,bind,ro", str(stage.state))
    yield
    subprocess.run(["umount", "-l", str(stage.state)], check=True)


STORED = ("responses",)
BROKEN_DATABASE = Effects(STORED, hurts=True, watchdog_s=10.0, loses_runs=True)
DISK_BLOWS = [
    Blow("fill the disk of the database", _fill_database, BROKEN_DATABASE, lasts_s=4.0),
    Blow("fill the disk of the runtime folder", _fill(lambda stage: stage.runtime), lasts_s=3.0),
    Blow(
        "fill the disk of the runtime folder and kill a model worker",
        _fill(lambda stage: stage.runtime, "model worker"),
        Effects(tuple(FAMILIES), replaces=("model worker",), watchdog_s=4.0),
        lasts_s=4.0,
    ),
    Blow("fill shared memory", _fill(lambda stage: Path("/dev/shm")), lasts_s=3.0),
    Blow(
        "fill shared memory and kill workers",
        _fill(lambda stage: Path("/dev/shm"), "model worker", "web worker"),
        Effects(tuple(FAMILIES), cuts=True, replaces=("model worker", "web worker")),
        lasts_s=1.0,
    ),
    Blow("lock the database", _lock, Effects(STORED, watchdog_s=4.0, loses_runs=True), lasts_s=4.0),
    Blow(
        "corrupt the database",
        _corrupt,
        Effects(STORED, hurts=True, watchdog_s=10.0, loses_runs=True, loses_stored=True),
        lasts_s=4.0,
    ),
    Blow("take the database away", _take_away, Effects(STORED, watchdog_s=10.0, loses_runs=True, loses_stored=True)),
    Blow("make the database read-only", _read_only, replace(BROKEN_DATABASE, hurts=False), lasts_s=4.0),
]
