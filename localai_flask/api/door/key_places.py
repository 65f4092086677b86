"""How many requests each key has at work, counted over all web workers.

A place is a byte of a file that has the key's name, locked by an open file description of the process that has taken
it: the kernel gives back what a process held that was killed, and nobody else has to count.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from localai_flask.api.door.places import SMOOTHING, Place
from localai_flask.errors import TooManyRequests

F_OFD_SETLK = 37
"""From linux/fcntl.h; Python has no name for it before 3.14."""
AT_WORK = "at work"
TAKEN = (errno.EAGAIN, errno.EACCES)


class KeyPlaces:
    """The places of all keys, as one process sees them."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic):
        self._folder = folder
        self._clock = clock
        self._lock = Lock()
        self._files: dict[str, _Bytes] = {}
        self._usual_s: dict[str, float] = {}

    def take(self, name: str, most: int, doing: str = AT_WORK) -> Place:
        """Take one of a key's places of a kind; raise `TooManyRequests` if all are taken."""
        kind = f"{doing}/{name}" if doing != AT_WORK else name
        with self._lock:
            places = self._files.get(kind)
            if places is None:
                places = self._files[kind] = _Bytes(self._folder / _file_name(kind))
            byte = places.take(most)
        if byte is None:
            raise TooManyRequests(
                f"The key {name!r} has {most} requests {doing}, as many as it may; wait for one of them to end.",
                retry_after=max(1.0, self._usual_s.get(kind, 0.0) / most),
            )
        begun = self._clock()
        return Place(lambda: self._give_back(kind, byte, begun))

    def _give_back(self, name: str, byte: int, begun: float) -> None:
        with self._lock:
            self._files[name].give_back(byte)
            usual_s, taken_s = self._usual_s.get(name, 0.0), self._clock() - begun
            self._usual_s[name] = usual_s + (SMOOTHING if usual_s else 1.0) * (taken_s - usual_s)


class _Bytes:
    """The bytes of one file; those of this process are told apart from each other here, as locks do not."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._ours: set[int] = set()

    def take(self, most: int) -> int | None:
        for byte in range(most):
            if byte not in self._ours and self._lock(fcntl.F_WRLCK, byte):
                self._ours.add(byte)
                return byte
        return None

    def give_back(self, byte: int) -> None:
        self._ours.discard(byte)
        self._lock(fcntl.F_UNLCK, byte)

    def _lock(self, kind: int, byte: int) -> bool:
        try:
            fcntl.fcntl(self._file, F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0))
        except OSError as error:
            if error.errno in TAKEN:
                return False
            raise
        return True


def _file_name(key: str) -> str:
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
