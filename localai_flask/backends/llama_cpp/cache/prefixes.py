"""Where a prompt can start from: the longest prefix that a slot or a stored branch has, as far as it is of use.

Changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from localai_flask.backends.llama_cpp.cache.branches import Slot
from localai_flask.backends.llama_cpp.cache.disk.block_tree import Chain
from localai_flask.backends.llama_cpp.cache.host_store import HostStore, Stored
from localai_flask.backends.llama_cpp.cache.shifting import common_prefix
from localai_flask.backends.llama_cpp.cache.states import Checkpoint, State
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.backends.llama_cpp.scheduling.grain import Grain
from localai_flask.backends.llama_cpp.vision.chunks import whole

WORTH_STORING = 16
"""Fewest tokens that are worth a copy to host memory or back."""


class Start(NamedTuple):
    """Where a prompt starts: the first `length` tokens of a slot, or of a branch that is stored or has come from disk.

    From a checkpoint if need be.
    """

    length: int = 0
    slot: Slot | None = None
    stored: Stored | None = None
    checkpoint: Checkpoint | None = None
    chain: Chain | None = None
    states: Sequence[Sequence[State]] = ()
    """Those of the chain."""


class Prefixes:
    """Searches all branches of one cache, inside and outside."""

    def __init__(self, slots: list[Slot], store: HostStore, model: Model):
        self._slots = slots
        self._store = store
        self._memory = model.memory
        self._window = model.window
        self._cannot_roll_back = model.cannot_roll_back

    def find_sound(self, prompt: Tokens, grain: Grain, preferred: Slot | None, scope: str = "") -> Start:
        """Find the longest prefix that was computed with nothing beside it, and that may be gone on from."""
        best = Start()

        def consider(holder: Slot | Stored, common: int) -> Start:
            usable = grain.floor(common, len(prompt))
            if usable <= best.length or holder.scope != scope:
                return best
            return max(best, self._reach(usable, holder, grain.step), key=lambda start: start.length)

        for slot in sorted(self._slots, key=lambda slot: slot is not preferred):
            if slot.sound > best.length:
                best = consider(slot, common_prefix(slot.tokens[: slot.sound], prompt))
        for stored, common in self._store.sound_index.nearest(prompt):
            if common <= best.length:
                break
            best = consider(stored, common)
        return best

    def find(self, wanted: Tokens, scope: str = "") -> Start:
        """Find the longest prefix, preferably in the cache, there preferably in an idle slot."""
        best = Start()
        for slot in (each for each in self._slots if each.scope == scope):
            start = self._reach(common_prefix(slot.computed, wanted), slot)
            is_better = start.length > best.length
            if is_better or (start.length == best.length > 0 and best.slot and best.slot.in_use and not slot.in_use):
                best = start
        least = best.length + WORTH_STORING
        for stored, common in self._store.index.nearest(wanted):
            if common < max(least, best.length + 1):
                break
            if stored.scope != scope:
                continue
            start = self._reach(common, stored)
            if start.length >= max(least, best.length + 1):
                best = start
        return best

    def _reach(self, common: int, holder: Slot | Stored, step: int = 1) -> Start:
        """Return how much of the tokens in common can really be started from, if a multiple of `step` may be."""
        common = whole(holder.tokens, common)
        if not common:
            return Start()
        slot, stored = (holder, None) if isinstance(holder, Slot) else (None, holder)
        if not self._cannot_roll_back or self._holds(holder, common):
            return Start(common, slot, stored)
        usable = [
            checkpoint
            for checkpoint in holder.checkpoints
            if checkpoint.length <= common and not checkpoint.length % step
        ]
        return Start(usable[-1].length, slot, stored, usable[-1]) if usable else Start()

    def _holds(self, holder: Slot | Stored, length: int) -> bool:
        """Whether a memory that forgets still knows all that a prefix needs, in a slot that can be gone on in."""
        if isinstance(holder, Stored):
            return holder.length == length
        if holder.in_use:
            return False
        if holder.length == length:
            return True
        oldest = lib.llama_memory_seq_pos_min(self._memory, holder.id)
        return bool(self._window and oldest <= max(0, holder.position_of(length) - self._window))
