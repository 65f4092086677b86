"""Idle branches on their way to host memory and back, so that what runs beside them waits for no longer than it may.

Changes what a slot holds only by bringing a branch back.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from localai_flask.backends.llama_cpp.cache.branches import Slot
from localai_flask.backends.llama_cpp.cache.host_store import HostStore, Stored
from localai_flask.backends.llama_cpp.cache.pins import joined
from localai_flask.backends.llama_cpp.cache.prefixes import WORTH_STORING
from localai_flask.backends.llama_cpp.cache.states import States
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.backends.llama_cpp.vision.chunks import count_still

COPIED_BYTES = 256 << 20
"""The most of one branch that is copied to the host beside running streams, which wait half a second for each GiB."""


class Overflow:
    """Copies the branches of one cache; `streams` is how many sequences wait for their next token meanwhile."""

    def __init__(self, slots: list[Slot], states: States, store: HostStore, *, cannot_roll_back: bool):
        self.streams = 0
        self._slots = slots
        self._states = states
        self._store = store
        self._cannot_roll_back = cannot_roll_back

    def is_in_time(self, slot: Slot) -> bool:
        """Return whether a whole branch can be copied beside what runs."""
        return self.copied_in_time(slot) == slot.length

    def copied_in_time(self, slot: Slot) -> int:
        """Return how many of a slot's tokens can be copied beside what runs; a memory that forgets is copied whole."""
        if not self.streams or self._cannot_roll_back or not self._is_worth_it(slot):
            return slot.length
        return slot.length * COPIED_BYTES // max(self._states.size(slot.id), COPIED_BYTES)

    def put_away(self, slot: Slot) -> bool:
        """Copy an idle branch, unless its tokens are elsewhere too; tell whether they can be found."""
        if not self._is_worth_it(slot):
            return False
        tokens, checkpoints, pin = slot.computed.copy(), list(slot.checkpoints), slot.pin
        for holder in () if self._cannot_roll_back else self._others_with(slot, tokens):
            if holder.sound >= slot.sound:
                holder.pin = joined(holder.pin, slot.pin)
                return True
        for stored in self._store.index.beginnings_of(tokens):
            if stored.sound <= slot.sound and stored.scope == slot.scope:
                pin = joined(pin, stored.pin)
                self._store.remove(stored)
        size = self._states.size(slot.id) + tokens.nbytes + sum(part.state.nbytes for part in checkpoints)
        is_pinned = pin is not None and not pin.is_over
        return self._store.put(
            size,
            lambda: Stored(tokens, self._states.read(slot.id), checkpoints, pin, slot.sound, slot.scope, slot.owner),
            is_pinned=is_pinned,
        )

    def bring_back(self, slot: Slot, stored: Stored, length: int) -> None:
        """Have an empty slot hold a stored branch, of which `length` tokens are wanted; it stays empty without room."""
        if not self._states.write(slot.id, stored.state):
            return
        slot.tokens[: stored.length] = stored.tokens
        slot.length, slot.sound, slot.still = stored.length, stored.sound, count_still(stored.tokens)
        slot.checkpoints = list(stored.checkpoints)
        slot.pin = stored.pin
        if stored in self._store.entries:  # it may have been dropped for the branch that made room
            self._store.touch(stored)
            if length == stored.length:
                self._store.remove(stored)

    def _others_with(self, slot: Slot, tokens: Tokens) -> Iterator[Slot | Stored]:
        """Go through all that hold a slot's tokens as well, and perhaps more behind them."""
        for other in self._slots:
            is_other = other is not slot and other.scope == slot.scope
            if is_other and np.array_equal(other.computed[: len(tokens)], tokens):
                yield other
        yield from (each for each in self._store.index.beginning_with(tokens) if each.scope == slot.scope)

    def _is_worth_it(self, slot: Slot) -> bool:
        return self._store.is_open and slot.length >= WORTH_STORING
