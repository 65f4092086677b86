"""The KV cache as a tree of branches: which tokens it holds, how a prompt starts from them, and which have to go.

Owns every change of the cache but decoding. All slots lie in one unified cache, where a prefix that several share is
there once; there are more slots than may run, and idle ones give way, least recently used first and those with pins
last, to host memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from localai_flask.backends.llama_cpp.cache.branches import EVERYTHING, Slot, count_cells, cut, fork
from localai_flask.backends.llama_cpp.cache.checkpoints import Checkpoints
from localai_flask.backends.llama_cpp.cache.disk.disk_cache import DiskCache
from localai_flask.backends.llama_cpp.cache.disk.transfer import Transfer
from localai_flask.backends.llama_cpp.cache.eviction import Eviction
from localai_flask.backends.llama_cpp.cache.host_store import HostStore
from localai_flask.backends.llama_cpp.cache.mover import Mover
from localai_flask.backends.llama_cpp.cache.overflow import Overflow
from localai_flask.backends.llama_cpp.cache.pins import Pin, joined
from localai_flask.backends.llama_cpp.cache.prefixes import Prefixes, Start
from localai_flask.backends.llama_cpp.cache.shifting import Move, common_prefix
from localai_flask.backends.llama_cpp.cache.states import States
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.backends.llama_cpp.vision.chunks import whole

__all__ = ["WORTH_WAITING", "PrefixCache", "Slot"]

WORTH_WAITING = 32
"""A prompt waits for another that is being computed if it can take over this many more tokens from it."""
LOSABLE = 8
"""A prompt continues in an idle branch if that loses at most one in `LOSABLE` of its tokens; else it forks."""


class PrefixCache:
    """Lends slots to sequences.

    Models with recurrent state or a sliding window cannot go back to a prefix in the middle of their past: there a
    prompt starts from a branch's end, from within the window while that is all there, or from a checkpoint.
    """

    def __init__(
        self, model: Model, options: EngineOptions, disk: DiskCache | None = None, *, must_reuse: bool = False
    ):
        """`must_reuse` tells that `cache_reuse` is asked for; raise `ConfigError` for what the model cannot do."""
        spares = disk is not None and not model.cannot_roll_back
        self.slots = [Slot(i, np.zeros(model.context_size, np.int32)) for i in range(model.sequences - spares)]
        self._most = model.slots
        self._cells = model.slots * model.context_size
        self._memory = model.memory
        self._cannot_roll_back = model.cannot_roll_back
        self._states = States(model.context)
        self._checkpoints = Checkpoints(self._states, options.ctx_checkpoints, options.checkpoint_min_step, model.grain)
        self.grain = model.grain
        self._similarity = options.slot_similarity
        self.store = HostStore(options.cache_ram_bytes if options.cache_idle_slots else 0)
        self._overflow = Overflow(self.slots, self._states, self.store, cannot_roll_back=model.cannot_roll_back)
        self._eviction = Eviction(self.slots, self._overflow, self.store, model, options)
        self._prefixes = Prefixes(self.slots, self.store, model)
        self._mover = Mover(self.slots, self._states, self.make_room, model, options, must_reuse=must_reuse)
        self.disk: Transfer | None = None
        """What copies idle branches to disk and back."""
        if disk is not None:
            self.disk = Transfer(self.slots, self.store, self._states, disk, len(self.slots) if spares else None)
        self._uses = 0

    @property
    def room(self) -> int:
        """How many more slots can be lent."""
        return self._most - sum(slot.in_use for slot in self.slots)

    @property
    def usage(self) -> float:
        """The share of the cells that sequences hold which run; what is kept for later ones gives way to them."""
        return count_cells(slot for slot in self.slots if slot.in_use) / max(self._cells, 1)

    @property
    def can_repeat(self) -> bool:
        """Whether `take_alone` is possible: other devices add up as they like, and branches need somewhere to go."""
        return self.grain is not None and self.store.is_open

    def set_stream_count(self, streams: int) -> None:
        """Note how many sequences wait for their next token while something is copied."""
        self._overflow.streams = streams

    def take(self, prompt: Tokens, caller: str = "", scope: str = "") -> Slot:
        """Lend a slot (there must be room) that starts with the longest cached prefix of a prompt, less its last token.

        Prefixes of another scope are not looked at.

        The last token is always computed anew, because the first answer token is sampled from its logits.
        """
        wanted = prompt[:-1]
        start = self._prefixes.find(wanted, scope)
        start = self.disk.better(start, wanted, _owner(caller, scope)) if self.disk else start
        moves = self._mover.find(start, wanted)
        slot = (
            start.slot if start.slot and self._goes_on(start, moves, len(prompt)) else self._eviction.free(start.slot)
        )
        is_elsewhere = start.stored is not None or start.chain is not None
        if self._cannot_roll_back and start.checkpoint is None and start.slot is not slot and not is_elsewhere:
            start = Start()  # what there is can only be gone on in
        self._lend(slot, caller, scope)
        self._begin(slot, start)
        self._eviction.bound_idle()
        if moves:
            self._mover.move(slot, moves, wanted)
        elif slot.length > start.length:
            self._eviction.shorten(slot, start.length)
        slot.pin = slot.pin and slot.pin.renewed()
        if not any(slot.length for slot in self.slots):
            # Emptied cells leave the library where it was, and attention goes over all cells before that.
            lib.llama_memory_clear(self._memory, False)
        return slot

    def take_alone(self, prompt: Tokens, caller: str = "", scope: str = "") -> Slot:
        """Lend a slot to a lone request whose text is to be the same each time, whatever was computed before.

        Attention adds up in the order of the cells, so that the prompt's tokens have to lie in the first ones, and its
        beginning may only come from the cache if it was computed there. All other branches go to host memory.
        """
        assert self.grain is not None, "asked before"
        start = self._prefixes.find_sound(prompt, self.grain, self._eviction.home, scope)
        start = self.disk.better(start, prompt, _owner(caller, scope), self.grain) if self.disk else start
        if not start.length or start.slot is not self._eviction.home or start.checkpoint is not None:
            self._eviction.home = None
        for slot in [slot for slot in self.slots if slot.length and slot is not self._eviction.home]:
            self._eviction.evict(slot)
        if self._eviction.home is None:
            lib.llama_memory_clear(self._memory, False)
            start = start if start.chain else self._prefixes.find_sound(prompt, self.grain, None, scope)
            self._eviction.home = self.slots[0]
        elif (self._eviction.home.length - start.length) * LOSABLE > self._eviction.home.length:
            self._overflow.put_away(self._eviction.home)
        slot = self._eviction.home
        self._lend(slot, caller, scope)
        self._begin(slot, start)
        if slot.length > start.length:
            self._eviction.shorten(slot, start.length)
        slot.pin = slot.pin and slot.pin.renewed()
        return slot

    def give_back(self, slot: Slot, pinned: int = 0, seconds: float = 0.0) -> None:
        """Free a slot for another sequence; its tokens stay until then, as far as they were not shifted.

        The first `pinned` of them are to stay for `seconds`, though others go.
        """
        slot.in_use = False
        slot.stops.clear()
        self._uses += 1
        slot.last_used, slot.idle_since = self._uses, time.monotonic()
        exact = whole(slot.tokens, min(slot.exact, slot.length))  # an image of which a part is missing is of no use
        if exact < slot.length:
            self._eviction.shorten(slot, exact)
        slot.exact = EVERYTHING
        if seconds and (length := min(pinned, slot.length)):
            slot.pin = joined(slot.pin, Pin.of(length, seconds))

    def truncate(self, slot: Slot, length: int) -> None:
        """Forget the tokens behind a length, which were computed on trial."""
        if length < slot.length:
            lib.llama_memory_seq_rm(self._memory, slot.id, slot.position_of(length), -1)
            cut(self.slots, slot, length)

    def is_coming(self, prompt: Tokens, caller: str, scope: str = "", *, alone: bool) -> bool:
        """Return whether a prompt had better wait for what is being read from disk."""
        if self.disk is None:
            return False
        owner = _owner(caller, scope)
        if alone and self.grain is not None:
            known = self._prefixes.find_sound(prompt, self.grain, self._eviction.home, scope).length
            return self.disk.is_coming(known, prompt, owner, self.grain)
        return self.disk.is_coming(self._prefixes.find(prompt[:-1], scope).length, prompt[:-1], owner)

    def count_held(self, prompt: Tokens, scope: str) -> int:
        """Return how many of a prompt's first tokens need not be computed, as things are."""
        return self._prefixes.find(prompt[:-1], scope).length

    def should_wait(self, prompt: Tokens, being_computed: Iterable[tuple[Tokens, Slot]], scope: str = "") -> bool:
        """Return whether a prompt had better wait for one that is being computed in a slot, to start from it."""
        if self._cannot_roll_back and not self._checkpoints.are_made:
            return False
        wanted = prompt[:-1]
        comings = ((common_prefix(other, wanted), slot) for other, slot in being_computed if slot.scope == scope)
        coming, slot = max(comings, key=lambda item: item[0], default=(0, None))
        if slot is None or coming < WORTH_WAITING:
            return False
        if coming < self._prefixes.find(wanted, scope).length + WORTH_WAITING:
            return False
        if self._cannot_roll_back:
            if slot.length >= coming:  # it has passed the point without a checkpoint
                return False
            slot.stops.add(whole(prompt, coming))
        return True

    def next_stop(self, slot: Slot, prompt_length: int, *, alone: bool) -> int:
        """Return where the next chunk of a slot's prompt has to end at the latest, for a checkpoint."""
        if not (self._cannot_roll_back and self._checkpoints.are_made):
            return prompt_length
        return self._checkpoints.next_stop(slot, prompt_length, alone=alone)

    def note(self, slot: Slot, prompt_length: int, *, alone: bool) -> None:
        """Make a checkpoint of a slot that has come further in its prompt, if it is worth one."""
        if self._cannot_roll_back and self._checkpoints.are_made:
            self._checkpoints.note(slot, prompt_length, alone=alone)

    def make_room(self, cells: int) -> None:
        """Free cells until there are `cells`, as far as idle branches hold them."""
        self._eviction.make_room(cells)

    def drop_idle(self) -> bool:
        """Move all idle branches to host memory; return whether there was one."""
        return self._eviction.drop_all()

    def is_nearly_full(self, slot: Slot) -> bool:
        return self._mover.is_nearly_full(slot)

    def shift(self, slot: Slot, keep: int) -> None:
        """Drop the oldest half of a running sequence's tokens behind the first `keep`."""
        self._mover.shift(slot, keep)

    def _goes_on(self, start: Start, moves: list[Move], prompt_length: int) -> bool:
        """Whether a prompt goes on in the slot it starts from, rather than in a branch of its own."""
        slot = start.slot
        if slot is None or slot.in_use:
            return False
        if self._cannot_roll_back and start.checkpoint is None:
            return start.length * 2 >= slot.length
        if slot.pin is not None and not slot.pin.is_over and start.length + WORTH_WAITING < slot.pin.length:
            return False
        if moves:
            return True
        is_similar = start.length >= self._similarity * prompt_length
        return is_similar and (slot.length - start.length) * LOSABLE <= slot.length

    def _lend(self, slot: Slot, caller: str, scope: str) -> None:
        slot.in_use, slot.scope = True, scope
        owner = _owner(caller, scope)
        slot.owner, slot.written = owner, slot.written if slot.owner == owner else 0

    def _begin(self, slot: Slot, start: Start) -> None:
        """Have a slot hold at least what a prompt starts from."""
        if start.chain is not None and self.disk is not None:
            self._eviction.bound_idle()
            self.make_room(start.chain.end)
            self.disk.read(slot, start.chain, start.states)
        elif start.stored is not None:
            self._eviction.bound_idle()  # before, as attention goes over all cells up to the last one in use
            self.make_room(start.stored.length)
            self._overflow.bring_back(slot, start.stored, start.length)
        elif start.slot is not None and start.slot is not slot:
            lib.llama_memory_seq_cp(self._memory, start.slot.id, slot.id, 0, start.slot.position_of(start.length))
            fork(self.slots, start.slot, slot, start.length)
            slot.checkpoints = [part for part in start.slot.checkpoints if part.length <= start.length]
        if start.checkpoint is None or not slot.length:
            return
        if not self._states.write_partial(slot.id, start.checkpoint.state):
            self._eviction.clear(slot)


def _owner(caller: str, scope: str) -> str:
    """Return under whose name a branch is on disk, where each caller finds its own, and each scope too."""
    return f"{caller}\0{scope}" if scope else caller
