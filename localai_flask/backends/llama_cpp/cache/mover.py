"""Moves cached tokens to other positions: chunks of an old prompt behind a new beginning, and a full context.

Owns these changes of the cache, and the copy of what others share before it.
"""

from __future__ import annotations

from collections.abc import Callable

from localai_flask.backends.llama_cpp.cache.branches import Slot, cut
from localai_flask.backends.llama_cpp.cache.prefixes import Start
from localai_flask.backends.llama_cpp.cache.shifting import Move, find_moves
from localai_flask.backends.llama_cpp.cache.states import States
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.errors import ConfigError

SHIFT_ROOM = 64
"""A context is shifted when fewer tokens than this, or an eighth, still fit: a step may compute several."""


class Mover:
    """Moves the tokens of one cache, where the model allows it, in chunks of at least `cache_reuse` tokens."""

    def __init__(
        self,
        slots: list[Slot],
        states: States,
        make_room: Callable[[int], None],
        model: Model,
        options: EngineOptions,
        *,
        must_reuse: bool = False,
    ) -> None:
        """`must_reuse` means that `cache_reuse` is asked for; raise `ConfigError` for what the model cannot do."""
        self._slots = slots
        self._states = states
        self._make_room = make_room
        self._memory = model.memory
        can_shift = bool(self._memory and not model.cannot_roll_back and lib.llama_memory_can_shift(self._memory))
        self._reuse = options.cache_reuse if can_shift else 0
        if not can_shift and self._memory:
            _check(model, "context_shift", wanted=options.context_shift)
            _check(model, "cache_reuse", wanted=must_reuse and options.cache_reuse > 0)

    def find(self, start: Start, wanted: Tokens) -> list[Move]:
        """Find the chunks of an idle or stored branch that can be moved up behind the prefix."""
        slot, stored = start.slot, start.stored
        if not self._reuse or (slot is None and stored is None) or (slot is not None and slot.in_use):
            return []
        cached = slot.computed if slot is not None else stored.tokens if stored is not None else wanted[:0]
        if (wanted < 0).any() or (cached < 0).any():  # an image cannot be moved in parts
            return []
        return find_moves(cached, wanted, start.length, self._reuse)

    def move(self, slot: Slot, moves: list[Move], wanted: Tokens) -> None:
        """Have a slot hold the wanted tokens up to the end of the last chunk."""
        if slot.length <= moves[0].to:  # it could not be restored
            return
        self._own(slot, moves[0].to)
        shifted = 0
        for move in moves:
            self._close_gap(slot, Move(move.begin - shifted, move.to, move.length))
            shifted = move.begin - move.to
        length = moves[-1].to + moves[-1].length
        lib.llama_memory_seq_rm(self._memory, slot.id, length, -1)
        cut(self._slots, slot, length)
        slot.tokens[:length] = wanted[:length]
        slot.sound, slot.written = min(slot.sound, moves[0].to), min(slot.written, moves[0].to)

    def is_nearly_full(self, slot: Slot) -> bool:
        return slot.room <= min(SHIFT_ROOM, len(slot.tokens) // 8)

    def shift(self, slot: Slot, keep: int) -> None:
        """Drop the oldest half of a running sequence's tokens behind the first `keep`."""
        discard = (slot.length - keep) // 2
        self._own(slot, keep)
        self._close_gap(slot, Move(keep + discard, keep, slot.length - keep - discard))
        slot.length -= discard
        slot.exact, slot.sound = min(slot.exact, keep), min(slot.sound, keep)
        slot.written = min(slot.written, keep)

    def _close_gap(self, slot: Slot, move: Move) -> None:
        """Remove what lies before a chunk, and move it and all behind it up."""
        delta = move.to - move.begin
        if delta:
            lib.llama_memory_seq_rm(self._memory, slot.id, move.to, move.begin)
            lib.llama_memory_seq_add(self._memory, slot.id, move.begin, -1, delta)
            slot.tokens[move.to : slot.length + delta] = slot.tokens[move.begin : slot.length].copy()

    def _own(self, slot: Slot, length: int) -> None:
        """Have the cells behind a length belong to this slot alone, as they are to change their position."""
        if slot.shared_length <= length:
            return
        state = self._states.read(slot.id)
        slot.shared.clear()
        lib.llama_memory_seq_rm(self._memory, slot.id, -1, -1)
        held, slot.length = slot.length, 0
        self._make_room(held)
        if not self._states.write(slot.id, state):
            raise RuntimeError(f"the cache has no room for a copy of {held} tokens that are to be shifted")
        slot.length = held


def _check(model: Model, name: str, *, wanted: bool) -> None:
    if wanted:
        raise ConfigError(
            f"The option {name} moves cached tokens to other positions, which {model.path} ({model.description}) "
            f"does not allow; remove {name}.",
            param="options",
        )
