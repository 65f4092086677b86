"""Copies between the cache's slots and the blocks on disk: which part of an idle branch is written next, and back.

Attention to what runs: a copy out of the cache stops the engine, so blocks are small, and few beside streams.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from localai_flask.backends.llama_cpp.cache.branches import Slot
from localai_flask.backends.llama_cpp.cache.disk.block_file import Block, Piece, name_of
from localai_flask.backends.llama_cpp.cache.disk.block_tree import Chain, root_of
from localai_flask.backends.llama_cpp.cache.disk.disk_cache import DiskCache
from localai_flask.backends.llama_cpp.cache.host_store import HostStore, Stored
from localai_flask.backends.llama_cpp.cache.prefixes import Start
from localai_flask.backends.llama_cpp.cache.states import Checkpoint, State, States
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.backends.llama_cpp.scheduling.grain import Grain

WORTH_WRITING = 64
"""Fewest tokens of a branch that are worth a file, and that make it worth another one."""
BLOCK_BYTES, MOST_TOKENS, LEAST_TOKENS = 16 << 20, 512, 64
"""About how large a block is, and the most and fewest tokens of one: a copy of 16 MiB takes some milliseconds."""
SETTLED_S = 1.0
"""How long a branch is idle before it is written, since the next turn of a conversation may follow at once."""
LOOK_S, PAUSE_S = 0.05, 0.5
"""How often branches are looked through while streams run, and how long nothing is copied after a block."""
CLOSING_S = 3.0
"""How long is spent on what is not written yet when the engine ends."""


class Transfer:
    """Writes and reads the branches of one cache; `spare` is a sequence that is lent to none, None: there is none."""

    def __init__(self, slots: list[Slot], store: HostStore, states: States, disk: DiskCache, spare: int | None):
        """Without a spare sequence, as for memory that cannot roll back, whole branches are written."""
        self.disk = disk
        self._slots = slots
        self._store = store
        self._states = states
        self._spare = spare
        self._block_tokens = 0
        self._next = 0.0
        self._last = ""
        """The block that was written last."""

    @property
    def rest_s(self) -> float | None:
        """For how many seconds nothing is due; None: until something has run."""
        if self.disk.is_writing:
            return 0.01
        if not self.disk.is_open or not (self._waiting() or self._unwritten()):
            return None
        return max(0.01, min([each.idle_since for each in self._waiting()], default=0) + SETTLED_S - time.monotonic())

    def is_coming(self, known: int, wanted: Tokens, caller: str, grain: Grain | None = None) -> bool:
        """Return whether a prompt that could start behind `known` tokens had better wait for more from the disk."""
        chain = self._find_better(known, wanted, caller, grain)
        return chain is not None and self.disk.is_coming(chain)

    def better(self, start: Start, wanted: Tokens, caller: str, grain: Grain | None = None) -> Start:
        """Return where a prompt starts if what has come from the disk is more than what memory has.

        With a grain, it is one whose text is to be the same each time.
        """
        chain = self._find_better(start.length, wanted, caller, grain)
        if chain is None or not (states := self.disk.take(chain)):
            return start
        checkpoints = dict(zip(chain.blocks[0].checkpoints, states[0][1:], strict=True))
        checkpoint = Checkpoint(chain.length, checkpoints[chain.length]) if chain.from_checkpoint else None
        return Start(chain.length, checkpoint=checkpoint, chain=chain, states=states)

    def read(self, slot: Slot, chain: Chain, states: Sequence[Sequence[State]]) -> None:
        """Have an empty slot hold what blocks have; it stays empty if that is impossible."""
        if not self._put_back(slot, chain, states):
            for each in (slot.id, self._spare):
                if each is not None:
                    lib.llama_memory_seq_rm(self._states.memory, each, -1, -1)
            self.disk.forget(chain)
            return
        for block in chain.blocks:
            slot.tokens[block.begin : block.end] = block.tokens
        slot.length, slot.sound = chain.end, min(chain.sound, chain.end)
        if self._spare is None:
            lengths = chain.blocks[0].checkpoints
            slot.checkpoints = [Checkpoint(*each) for each in zip(lengths, states[0][1:], strict=True)]

    def write_some(self, streams: int) -> None:
        """Have the next block written, if the time for one has come, beside a number of running streams."""
        self.disk.settle()
        now = time.monotonic()
        if now < self._next or not self.disk.is_open:
            return
        self._next = now + (LOOK_S if streams else 0)
        for slot in self._waiting():
            is_due = now - slot.idle_since >= SETTLED_S and not (streams and self._spare is None)
            if is_due and self._write(slot):
                self._next = now + (PAUSE_S if streams else 0)
                return
        for entry in self._unwritten():
            if self._write_stored(entry):
                return

    def wait(self, seconds: float) -> None:
        """Wait a moment for what is being read."""
        self.disk.wait(seconds)

    def close(self) -> None:
        """Write what is not written yet, as far as there is time, and end the threads."""
        end = time.monotonic() + CLOSING_S
        self.disk.wait_written(CLOSING_S)
        for slot in self._waiting():
            while self.disk.is_open and time.monotonic() < end and self._write(slot):
                self.disk.wait_written(end - time.monotonic())
        for entry in self._unwritten():
            if self.disk.is_open and time.monotonic() < end and self._write_stored(entry):
                self.disk.wait_written(end - time.monotonic())
        self.disk.close()

    def _waiting(self) -> list[Slot]:
        """Return the idle branches of which something is not on disk yet."""
        return [slot for slot in self._slots if not slot.in_use and slot.length >= slot.written + WORTH_WRITING]

    def _unwritten(self) -> list[Stored]:
        return [entry for entry in self._store.entries if not entry.is_written]

    def _put_back(self, slot: Slot, chain: Chain, states: Sequence[Sequence[State]]) -> bool:
        if self._spare is None:
            return self._states.write(slot.id, states[0][0])
        memory = self._states.memory
        for block, (state, *_) in zip(chain.blocks, states, strict=True):
            if not self._states.write(self._spare, state):
                return False
            lib.llama_memory_seq_cp(memory, self._spare, slot.id, block.begin, block.end)
            lib.llama_memory_seq_rm(memory, self._spare, -1, -1)
        return bool(lib.llama_memory_seq_pos_max(memory, slot.id) == chain.end - 1)

    def _write(self, slot: Slot) -> bool:
        """Have a part of a branch written; return whether there was one."""
        tokens, step = _before_images(slot.computed), self._step(slot)
        before = self._written_part(slot.owner, tokens)
        begin, parent = (before[-1].end, before[-1].name) if before else (0, root_of(slot.owner))
        is_cut = self._spare is None and len(tokens) < slot.length
        if len(tokens) < begin + WORTH_WRITING or is_cut:
            slot.written = slot.length
            return False
        if self._spare is None:
            others = [(each.length, each.state) for each in slot.checkpoints]
            slot.written = slot.length
            parts = [(len(tokens), self._states.read(slot.id)), *others]
            return self.disk.put(Piece(root_of(slot.owner), 0, tokens.copy(), slot.sound, parts))
        end = min((begin // step + 1) * step, len(tokens))
        part = tokens[begin:end].copy()
        if (name := name_of(parent, part)) == self._last:  # it could not be written, or had to go at once
            slot.written = slot.length
            return False
        self._last = name
        lib.llama_memory_seq_cp(self._states.memory, slot.id, self._spare, begin, end)
        state = self._states.read(self._spare)
        lib.llama_memory_seq_rm(self._states.memory, self._spare, -1, -1)
        return self.disk.put(Piece(parent, begin, part, slot.sound, [(end, state)]), before)

    def _write_stored(self, entry: Stored) -> bool:
        """Have a branch written that has left the cache, whole, unless most of it is on disk."""
        entry.is_written = True
        before = self._written_part(entry.owner, entry.tokens)
        begin = before[-1].end if before else 0
        if entry.length < begin + max(WORTH_WRITING, entry.length // 4) or entry.tokens.min() < 0:
            return False
        others = [(each.length, each.state) for each in entry.checkpoints]
        parts = [(entry.length, entry.state), *others]
        return self.disk.put(Piece(root_of(entry.owner), 0, entry.tokens, entry.sound, parts))

    def _find_better(self, known: int, wanted: Tokens, caller: str, grain: Grain | None) -> Chain | None:
        """Find the blocks that have more of a prompt's beginning than is known, as far as they are of use."""
        if len(wanted) < known + WORTH_WRITING:
            return None
        self.disk.look()
        if self._spare is None:

            def fits(block: Block, length: int) -> bool:
                return grain is None or (length <= block.sound and grain.floor(length, len(wanted)) == length)

            chain = self.disk.tree.find_whole(caller, wanted, fits)
        else:
            chain = self.disk.tree.find(caller, wanted)
            if grain is not None:
                chain = chain.cut(grain.floor(min(chain.length, chain.sound), len(wanted)))
        return chain if chain.length >= known + WORTH_WRITING else None

    def _written_part(self, caller: str, tokens: Tokens) -> tuple[Block, ...]:
        """Return the blocks of a branch that need not be written again; the next one builds on the last of them."""
        self.disk.look()
        if self._spare is None:
            return self.disk.tree.find_whole(caller, tokens, lambda block, end: end == block.end).blocks
        chain = self.disk.tree.find(caller, tokens)
        if chain.length + WORTH_WRITING > len(tokens):
            return chain.blocks
        whole = [block for block in chain.blocks if block.end <= chain.length]
        if whole and len(whole[-1].tokens) < self._block_tokens and whole[-1].end % self._block_tokens:
            whole.pop()  # a short one at the end of a branch is replaced by a longer one
        return tuple(whole)

    def _step(self, slot: Slot) -> int:
        """Return how many tokens a block has."""
        if not self._block_tokens:
            fit = slot.length * BLOCK_BYTES // max(self._states.size(slot.id), 1)
            self._block_tokens = min(max(fit // LEAST_TOKENS * LEAST_TOKENS, LEAST_TOKENS), MOST_TOKENS)
        return self._block_tokens


def _before_images(tokens: Tokens) -> Tokens:
    """Return the tokens before the first image, whose own lie elsewhere than text's, and are below zero."""
    images = np.flatnonzero(tokens < 0)
    return tokens[: images[0]] if len(images) else tokens
