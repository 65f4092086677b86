"""The blocks of one model on disk: their tree, a bound for all together, and the two threads that read and write them.

For the engine's thread, which waits for neither. Other processes may write to the folder and remove from it as well.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from localai_flask.backends.llama_cpp.cache.disk.block_file import (
    SUFFIX,
    Block,
    BrokenFile,
    Piece,
    map_states,
    read_block,
    write_block,
)
from localai_flask.backends.llama_cpp.cache.disk.block_tree import BlockTree, Chain
from localai_flask.backends.llama_cpp.cache.states import State

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often to look whether other processes have changed the folder."""
PATIENCE_S = 20.0
"""How long a prompt waits for what it could start from; after that it is computed."""
PAUSE_S = 60.0
"""How long nothing is written after that has failed."""
KEPT_MAPPED_S = 10.0
"""How long blocks stay mapped that were read for a prompt which does not come back for them."""
KEPT_S = 7 * 86400
"""How long blocks stay on disk that nobody uses."""
SPARED_BYTES, SPARED_PART = 5 << 30, 10
"""What is left free of a disk: 5 GiB, or a tenth of a small one."""
NICENESS = 15
"""That of the thread which writes."""


@dataclass(eq=False, slots=True)
class _Fetch:
    """Blocks on their way into memory."""

    states: Future[list[list[State]]]
    begun: float = field(default_factory=time.monotonic)


class DiskCache:
    """Holds at most `limit` bytes and drops first what was not used for longest."""

    def __init__(self, folder: Path, limit: int, *, is_read_only: bool = False):
        self.tree = BlockTree()
        self._folder = folder
        self._limit = limit
        self._is_read_only = is_read_only
        self._seen = 0
        """When the folder had changed last, at the last look."""
        self._next_look = 0.0
        self._paused_until = 0.0
        self._fetches: dict[str, _Fetch] = {}
        self._written: Future[Block] | None = None
        self._reader = ThreadPoolExecutor(1, "prompt-reader")
        self._writer = ThreadPoolExecutor(1, "prompt-writer", _be_nice)
        self.look()

    @property
    def is_open(self) -> bool:
        """Whether a block may be written now."""
        return not self._is_read_only and self._written is None and time.monotonic() >= self._paused_until

    @property
    def is_writing(self) -> bool:
        return self._written is not None

    def look(self) -> None:
        """Take note of what other processes have written or removed."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_S
        try:
            changed = self._folder.stat().st_mtime_ns
            if changed == self._seen:
                return
            names = {name.removesuffix(SUFFIX) for name in os.listdir(self._folder) if name.endswith(SUFFIX)}
        except OSError:
            names, changed = set(), 0
        self._seen = changed
        for name in self.tree.blocks.keys() - names:
            self.tree.remove(name)
        for name in names - self.tree.blocks.keys():
            try:
                self.tree.add(read_block(self._folder / (name + SUFFIX)))
            except BrokenFile as error:
                self._drop_file(self._folder / (name + SUFFIX), error)
        self._keep_bound()

    # What a prompt starts from.

    def is_coming(self, chain: Chain) -> bool:
        """Have blocks read and checked; return whether it is worth waiting for them."""
        now, name = time.monotonic(), chain.blocks[-1].name
        for other, fetch in list(self._fetches.items()):
            if other != name and fetch.states.done() and now - fetch.begun > KEPT_MAPPED_S:
                del self._fetches[other]
        if name not in self._fetches:
            self._fetches[name] = _Fetch(self._reader.submit(self._read, chain.blocks))
        fetch = self._fetches[name]
        if not fetch.states.done():
            return all(each.states.done() or now - each.begun < PATIENCE_S for each in self._fetches.values())
        if isinstance(broken := fetch.states.exception(), BrokenFile):
            log.warning("%s; what it held is computed anew", broken)
            self.tree.remove(broken.file.stem)
            del self._fetches[name]
            return True  # the others may still be of use
        return False

    def take(self, chain: Chain) -> list[list[State]]:
        """Return the states of blocks that have come; none, if they have not, or are not what they were."""
        fetch = self._fetches.get(chain.blocks[-1].name)
        if fetch is None or not fetch.states.done() or fetch.states.exception() is not None:
            return []
        del self._fetches[chain.blocks[-1].name]
        for block in chain.blocks:
            block.used = time.time()
        return fetch.states.result()

    def wait(self, seconds: float) -> None:
        """Wait a moment for what is being read."""
        for fetch in self._fetches.values():
            if not fetch.states.done():
                wait([fetch.states], seconds)  # how it has ended is for `is_coming` to see
                return

    def forget(self, chain: Chain) -> None:
        """Start from these blocks no more, as the library does not take them."""
        for block in chain.blocks:
            self.tree.remove(block.name)

    # What is kept.

    def put(self, piece: Piece, before: Sequence[Block] = ()) -> bool:
        """Write a block, behind others, while none is being written; return False if it is too large."""
        if piece.size > self._limit:
            return False
        for block in before:
            block.used = time.time()
        self._written = self._writer.submit(self._write, piece, before)
        return True

    def settle(self) -> None:
        """Take note of a block that was written meanwhile."""
        if self._written is None or not self._written.done():
            return
        written, self._written = self._written, None
        try:
            block = written.result()
        except (OSError, MemoryError) as error:
            self._paused_until = time.monotonic() + PAUSE_S
            log.warning("prompts are not kept on disk for %d s: %s", PAUSE_S, error)
            return
        self.tree.add(block)
        for other in self.tree.replaced_by(block):
            self._remove(other)
        self._keep_bound()

    def wait_written(self, seconds: float) -> None:
        """Wait for the block that is being written."""
        if self._written is not None:
            with contextlib.suppress(Exception):
                self._written.result(seconds)
        self.settle()

    def close(self) -> None:
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._writer.shutdown(wait=True)

    def _keep_bound(self) -> None:
        if self._is_read_only:
            return
        for block in self.tree.oldest():
            if self.tree.size <= self._limit and time.time() - block.used < KEPT_S:
                return
            self._remove(block)

    def _remove(self, block: Block) -> None:
        self.tree.remove(block.name)
        self._writer.submit(_unlink, block.file)

    def _drop_file(self, file: Path, error: BrokenFile) -> None:
        log.warning("%s; what it held is computed anew", error)
        if error.is_certain and not self._is_read_only:
            _unlink(file)

    # In the other threads.

    def _read(self, blocks: Sequence[Block]) -> list[list[State]]:
        states = []
        for block in blocks:
            try:
                states.append(map_states(block))
            except BrokenFile as error:
                if error.is_certain and not self._is_read_only:
                    _unlink(block.file)
                raise
        if not self._is_read_only:
            _touch(blocks)
        return states

    def _write(self, piece: Piece, before: Sequence[Block]) -> Block:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk = shutil.disk_usage(self._folder)
        spared = min(SPARED_BYTES, disk.total // SPARED_PART)
        if disk.free < piece.size + spared:
            raise OSError(errno.ENOSPC, f"less than {spared >> 20} MiB would be left on the disk of {self._folder}")
        _touch(before)
        return write_block(self._folder, piece)


def _touch(blocks: Sequence[Block]) -> None:
    """Note for all processes that blocks are of use."""
    for block in blocks:
        with contextlib.suppress(OSError):
            os.utime(block.file)


def _unlink(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


def _be_nice() -> None:
    """Let what computes go first; on Linux a thread has a niceness of its own."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
