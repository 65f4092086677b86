"""Idle branches that had to leave the cache, kept in host memory until their tokens are asked for again.

Knows tokens and bytes, but not the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from localai_flask.backends.llama_cpp.cache.pins import SHARE, Pin, find_pinned
from localai_flask.backends.llama_cpp.cache.prefix_index import PrefixIndex
from localai_flask.backends.llama_cpp.cache.states import Checkpoint, State
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.machine import SPARED_BYTES, available_memory

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Stored:
    """A branch outside the cache: its tokens, its whole state, its checkpoints, and what of it is to be kept."""

    tokens: Tokens
    state: State
    checkpoints: list[Checkpoint] = field(default_factory=list)
    pin: Pin | None = None
    sound: int = 0
    """How many tokens at the beginning were computed with nothing beside them."""
    scope: str = ""
    """Which adapters it was computed with."""
    owner: str = ""
    """Whose request has used it last."""
    is_written: bool = False
    """Whether it is on disk for the owner, or not worth it."""

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.state.nbytes + self.tokens.nbytes + sum(part.state.nbytes for part in self.checkpoints)


class HostStore:
    """Holds at most `limit` bytes and drops first what was not used for longest; None: what the machine has free.

    What is pinned goes for what is pinned alone.
    """

    def __init__(self, limit: int | None):
        self.limit = limit
        self.size = 0
        self.entries: list[Stored] = []
        """In order of their last use."""
        self.index: PrefixIndex[Stored] = PrefixIndex(lambda entry: entry.tokens)
        self.sound_index: PrefixIndex[Stored] = PrefixIndex(lambda entry: entry.tokens[: entry.sound])

    @property
    def is_open(self) -> bool:
        return self.limit != 0

    def put(self, size: int, copy: Callable[[], Stored], *, is_pinned: bool = False) -> bool:
        """Keep a branch of `size` bytes and drop others for it; False, and nothing is copied, if there is no room."""
        if self.limit is not None and size > self.limit:
            return False
        for entry in self._droppable(is_pinned):
            if not self._lacks(size):
                break
            self.remove(entry)
        if self._lacks(size):
            return False
        try:
            entry = copy()
        except MemoryError:
            log.warning("there is no memory for %d bytes of idle tokens; lower cache_ram", size)
            return False
        self.entries.append(entry)
        for index in (self.index, self.sound_index):
            index.add(entry)
        self.size += entry.size
        return True

    def give_back(self, size: int) -> None:
        """Drop as much, what is pinned last."""
        least = max(self.size - size, 0)
        for entry in self._droppable(for_pinned=True):
            if self.size <= least:
                return
            self.remove(entry)

    def touch(self, entry: Stored) -> None:
        """Note that an entry was of use."""
        self.entries.remove(entry)
        self.entries.append(entry)

    def remove(self, entry: Stored) -> None:
        self.entries.remove(entry)
        for index in (self.index, self.sound_index):
            index.remove(entry)
        self.size -= entry.size

    def _droppable(self, for_pinned: bool) -> list[Stored]:
        """Return what may go, in the order in which it does."""
        pinned = find_pinned(self.entries, lambda entries: SHARE * sum(each.size for each in entries) <= self._most())
        others = [entry for entry in self.entries if entry not in pinned]
        return [*others, *(entry for entry in self.entries if entry in pinned)] if for_pinned else others

    def _most(self) -> int:
        return self.size + available_memory() if self.limit is None else self.limit

    def _lacks(self, size: int) -> bool:
        if self.limit is None:
            return available_memory() < size + SPARED_BYTES
        return self.size + size > self.limit
