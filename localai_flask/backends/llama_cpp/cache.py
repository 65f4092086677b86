"""The slots of the KV cache: which tokens each holds, and how a new prompt starts from the longest prefix among them.

Owns every change of the cache but decoding. A slot is one sequence of the unified cache: a prefix that two slots share
lies in the cache once. With as many cells as slots × context size, there is always room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from localai_flask.backends.llama_cpp.batch import Tokens
from localai_flask.backends.llama_cpp.library import lib

WORTH_WAITING = 32
"""A prompt waits for another that is being computed if it can take over this many more tokens from it."""


@dataclass(eq=False, slots=True)
class Slot:
    """One sequence of the cache; the first `length` of `tokens` are computed and stay when the slot is given back."""

    id: int
    tokens: Tokens
    length: int = 0
    in_use: bool = False
    last_used: int = 0

    def append(self, token: int) -> None:
        """Record that one more token was computed."""
        self.tokens[self.length] = token
        self.length += 1

    def extend(self, tokens: Tokens) -> None:
        """Record that these tokens were computed behind the others."""
        end = self.length + len(tokens)
        self.tokens[self.length : end] = tokens
        self.length = end


class PrefixCache:
    """Lends slots to sequences.

    Models with recurrent state or a sliding window do not keep what a prefix in the middle of their past would need, so
    their slots share nothing: such a slot can only go on from its own end, or (window) from where all of the window
    before it is still there.
    """

    def __init__(self, memory: Any, slots: int, context_size: int, *, window: int, is_recurrent: bool):
        self.slots = [Slot(i, np.zeros(context_size, np.int32)) for i in range(slots)]
        self._memory = memory
        self._window = window
        self._can_share = window == 0 and not is_recurrent
        self._uses = 0

    @property
    def has_room(self) -> bool:
        return not all(slot.in_use for slot in self.slots)

    def take(self, prompt: Tokens) -> Slot:
        """Lend a free slot (there must be one) that holds the longest cached prefix of a prompt, less its last token.

        The last token is always computed anew, because the first answer token is sampled from its logits.
        """
        wanted = prompt[:-1]
        sources = self.slots if self._can_share else [slot for slot in self.slots if not slot.in_use]
        source = max(sources, key=lambda slot: (common_prefix(slot.tokens[: slot.length], wanted), not slot.in_use))
        shared = common_prefix(source.tokens[: source.length], wanted)
        slot = self._choose(source, shared)
        if slot is source:
            self._cut(slot, shared)
        else:
            self._copy(source, slot, shared if self._can_share else 0)
        slot.in_use = True
        return slot

    def give_back(self, slot: Slot) -> None:
        """Free a slot for another sequence; its tokens stay until then."""
        slot.in_use = False
        self._uses += 1
        slot.last_used = self._uses

    def should_wait(self, prompt: Tokens, being_computed: Iterable[Tokens]) -> bool:
        """Tell whether a prompt had better wait for one that is being computed, to start from it."""
        if not self._can_share:
            return False
        wanted = prompt[:-1]
        coming = max((common_prefix(other, wanted) for other in being_computed), default=0)
        if coming < WORTH_WAITING:
            return False
        cached = max(common_prefix(slot.tokens[: slot.length], wanted) for slot in self.slots)
        return coming >= cached + WORTH_WAITING

    def _choose(self, source: Slot, shared: int) -> Slot:
        """Go on in the source if that loses less than half of it, else in the slot that was not used for longest."""
        if not source.in_use and shared and shared * 2 >= source.length:
            return source
        return min((slot for slot in self.slots if not slot.in_use), key=lambda slot: (slot.length > 0, slot.last_used))

    def _cut(self, slot: Slot, length: int) -> None:
        if length == slot.length:
            return
        slot.length = length if self._can_cut(slot, length) else 0
        if slot.length == 0:
            lib.llama_memory_seq_rm(self._memory, slot.id, -1, -1)

    def _can_cut(self, slot: Slot, length: int) -> bool:
        if self._window and lib.llama_memory_seq_pos_min(self._memory, slot.id) > max(0, length - self._window):
            return False
        return bool(lib.llama_memory_seq_rm(self._memory, slot.id, length, -1))

    def _copy(self, source: Slot, slot: Slot, length: int) -> None:
        self._cut(slot, 0)
        if length:
            lib.llama_memory_seq_cp(self._memory, source.id, slot.id, 0, length)
            slot.tokens[:length] = source.tokens[:length]
            slot.length = length


def common_prefix(a: Tokens, b: Tokens) -> int:
    """Count the tokens that two sequences have in common at their beginning."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    first = int(differs.argmax()) if length else 0
    return first if length and differs[first] else length
