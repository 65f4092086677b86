"""Which idle branches of the cache give way, and how a slot is emptied: what is worth it goes to host memory before."""

from __future__ import annotations

from localai_flask.backends.llama_cpp.cache.branches import Slot, count_cells, cut
from localai_flask.backends.llama_cpp.cache.host_store import HostStore
from localai_flask.backends.llama_cpp.cache.overflow import Overflow
from localai_flask.backends.llama_cpp.cache.pins import SHARE, find_pinned
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.vision.chunks import whole

IDLE_CELLS = 64
"""Idle tokens at least that stay in the cache beside running ones if host memory takes the others."""


class Eviction:
    """Empties slots of one cache; least recently used first, and those with pins last."""

    def __init__(self, slots: list[Slot], overflow: Overflow, store: HostStore, model: Model, options: EngineOptions):
        self._slots = slots
        self._overflow = overflow
        self._store = store
        self._memory = model.memory
        self._cells = model.slots * model.context_size
        self._is_attention_free = model.is_recurrent and not model.is_hybrid
        self._most_idle = max(IDLE_CELLS, model.harmless_cells(options))
        self._room = self._cells
        """A number of cells of which it is known that they are free."""
        self.home: Slot | None = None
        """The slot whose tokens lie in the first cells, in order."""

    def make_room(self, cells: int) -> None:
        """Free cells until there are `cells`: idle branches go, least recently used first and those with pins last.

        What runs never needs more cells than there are, so there is always something to evict.
        """
        if self._room < cells:
            self._room = self._cells - count_cells(self._slots)
        while self._room < cells:
            idle = [slot for slot in self._slots if slot.length and not slot.in_use]
            if not idle:
                return
            pinned = self._pinned()
            self.evict(min(idle, key=lambda slot: (slot in pinned, slot.last_used)))
            self._room = self._cells - count_cells(self._slots)
        self._room -= cells

    def drop_all(self) -> bool:
        """Move all idle branches to host memory; return whether there was one."""
        idle = [slot for slot in self._slots if slot.length and not slot.in_use]
        for slot in idle:
            self.evict(slot)
        return bool(idle)

    def free(self, source: Slot | None) -> Slot:
        """Empty the slot that was not used for longest; that the prompt starts from only if there is no other."""
        idle, pinned = [slot for slot in self._slots if not slot.in_use], self._pinned()
        slot = min(idle, key=lambda slot: (slot is source, slot in pinned, slot.length > 0, slot.last_used))
        if slot is source:
            if self._overflow.is_in_time(slot):
                self._overflow.put_away(slot)
        else:
            self.evict(slot)
        return slot

    def _pinned(self) -> list[Slot]:
        """Return the idle branches that others are to go before."""
        idle = [slot for slot in self._slots if slot.length and not slot.in_use]
        return find_pinned(idle, lambda slots: SHARE * count_cells(slots) <= self._cells)

    def bound_idle(self) -> None:
        """Move idle branches to host memory, least recently used first, while too many tokens of the cache are idle."""
        if self._is_attention_free or not self._store.is_open:
            return
        running = count_cells(slot for slot in self._slots if slot.in_use)
        idle = sorted(
            (slot for slot in self._slots if slot.length and not slot.in_use), key=lambda slot: slot.last_used
        )
        for slot in idle:
            if count_cells(self._slots) - running <= self._most_idle:
                return
            if self._overflow.is_in_time(slot) and self._overflow.put_away(slot):
                self.clear(slot)

    def evict(self, slot: Slot) -> None:
        """Empty a slot; of a branch that would take long to copy, streams wait for its beginning only."""
        if (length := self._overflow.copied_in_time(slot)) < slot.length:
            self.shorten(slot, length)
        self._overflow.put_away(slot)
        self.clear(slot)

    def clear(self, slot: Slot) -> None:
        """Empty a slot."""
        self.home = None if slot is self.home else self.home
        lib.llama_memory_seq_rm(self._memory, slot.id, -1, -1)
        cut(self._slots, slot, 0)

    def shorten(self, slot: Slot, length: int) -> None:
        """Shorten a branch, to before an image if that would be cut; it is emptied if the library cannot do that."""
        length = whole(slot.tokens, length)
        if length and lib.llama_memory_seq_rm(self._memory, slot.id, slot.position_of(length), -1):
            cut(self._slots, slot, length)
        else:
            self.clear(slot)
