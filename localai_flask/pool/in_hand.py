"""Which request a model worker had in hand when it died: told by a file that outlives the process.

Only what was alone can be suspected: a request that was being submitted, or the only one that the engine held. Knows
digests of requests, not what they say.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

import msgspec

from localai_flask.pool.messages import Ask, Generate

log = logging.getLogger(__name__)

DIGEST_BYTES = 16
_MARK_BYTES = 2 * DIGEST_BYTES
_LAYOUT = struct.Struct(f"<I{_MARK_BYTES}s{_MARK_BYTES}s")
"""How many requests the engine holds, the one that is being submitted, and one of those held."""
_NOBODY = bytes(_MARK_BYTES)


class Mark(NamedTuple):
    """Digests of what an engine is asked to do, its prompt and form or its question, and of who asks; b"": nobody."""

    request: bytes
    caller: bytes = b""

    @classmethod
    def of(cls, command: Generate | Ask) -> Mark:
        asked = (command.prompt, command.sampling.constraint) if isinstance(command, Generate) else command.question
        caller = command.terms.caller
        return cls(_digest(msgspec.msgpack.encode(asked)), _digest(caller.encode()) if caller else b"")

    def pack(self) -> bytes:
        return self.request + self.caller.ljust(DIGEST_BYTES, b"\0")

    @classmethod
    def unpack(cls, packed: bytes) -> Mark:
        request, caller = packed[:DIGEST_BYTES], packed[DIGEST_BYTES:]
        return cls(request, caller if any(caller) else b"")


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


class InHand:
    """The engine thread's side: notes what it is about to do before it does it."""

    def __init__(self, path: Path):
        self._memory = _map(path)
        self._held: dict[int, bytes] = {}

    def begin(self, mark: Mark) -> None:
        """Note the request that is being submitted now."""
        self._write(mark.pack())

    def keep(self, number: int, mark: Mark) -> None:
        """Note that the engine has taken the request, under a number by which it is dropped."""
        self._held[number] = mark.pack()
        self._write(_NOBODY)

    def drop(self, *numbers: int) -> None:
        """Forget requests that have ended, and what was being submitted."""
        for number in numbers:
            self._held.pop(number, None)
        self._write(_NOBODY)

    def clear(self) -> None:
        """Suspect nothing: the process ends for a reason that is known."""
        self._held = {}
        self._write(_NOBODY)

    def _write(self, submitting: bytes) -> None:
        one = next(iter(self._held.values()), _NOBODY)
        _LAYOUT.pack_into(self._memory, 0, len(self._held), submitting, one)


def _map(path: Path) -> mmap.mmap:
    """Map a file; where its disk is full, memory that nobody else sees, as a model is worth more than a suspicion."""
    try:
        with open(path, "w+b") as file:
            os.posix_fallocate(file.fileno(), 0, _LAYOUT.size)  # else the first write ends the process with SIGBUS
            return mmap.mmap(file.fileno(), _LAYOUT.size)
    except OSError as error:
        log.warning("no request will be suspected should this worker crash: %s: %s", path, error.strerror)
        return mmap.mmap(-1, _LAYOUT.size)


def read_suspect(path: Path) -> Mark | None:
    """Return the mark of the request that a dead worker had in hand alone; None if there is none to suspect."""
    try:
        count, submitting, one = _LAYOUT.unpack(path.read_bytes())
    except (OSError, struct.error):  # it died before it had a file
        return None
    if submitting != _NOBODY:
        return Mark.unpack(submitting)
    return Mark.unpack(one) if count == 1 else None
