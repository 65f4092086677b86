"""The tree that the cached tokens form: which cells of the cache several sequences hold together.

Owns the books only: it changes nothing in the library.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from localai_flask.backends.llama_cpp.cache.pins import Pin
from localai_flask.backends.llama_cpp.cache.states import Checkpoint
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.backends.llama_cpp.vision.chunks import count_still

EVERYTHING = 1 << 62


@dataclass(eq=False, slots=True)
class Run:
    """A stretch of tokens that lies in the cache once for all the slots that list it."""

    length: int


@dataclass(eq=False, slots=True)
class Slot:
    """One branch: a sequence of the cache whose first `length` of `tokens` are computed, and stay when it is idle."""

    id: int
    tokens: Tokens
    length: int = 0
    still: int = 0
    """How many of them take no position of their own, as most of an image's under M-RoPE."""
    in_use: bool = False
    last_used: int = 0
    shared: list[Run] = field(default_factory=list)
    """The beginning of the branch, as far as another one was ever forked from it or it from another."""
    checkpoints: list[Checkpoint] = field(default_factory=list)
    """In order of length; only for memory that forgets."""
    stops: set[int] = field(default_factory=set)
    """Lengths at which others wait for a checkpoint."""
    exact: int = EVERYTHING
    """How many tokens at the beginning were computed behind exactly those before them; a shift changes that."""
    sound: int = 0
    """How many tokens at the beginning were computed with nothing beside them, so that they come out the same again."""
    scope: str = ""
    """Which adapters it was computed with: what is common to branches of two scopes is the text alone."""
    owner: str = ""
    """Whose request has used it last."""
    written: int = 0
    """How many tokens at the beginning are on disk for the owner, or not worth it."""
    idle_since: float = 0.0
    pin: Pin | None = None
    """What of it is to be kept, though others go."""

    def extend(self, tokens: Tokens, *, alone: bool = False) -> None:
        """Record that these tokens were computed behind the others, and whether nothing was beside them."""
        end = self.length + len(tokens)
        self.tokens[self.length : end] = tokens
        self.sound = end if alone and self.sound == self.length else self.sound
        self.length = end

    def extend_with_image(self, tokens: Tokens) -> None:
        """Record that part of an image was computed behind the others."""
        self.extend(tokens)
        self.still += count_still(tokens)

    @property
    def position(self) -> int:
        """Which position the next token has."""
        return self.length - self.still

    def position_of(self, length: int) -> int:
        """Return which position the token behind the first `length` has."""
        return length - count_still(self.tokens[:length]) if self.still else length

    @property
    def computed(self) -> Tokens:
        """The tokens that another sequence may start from."""
        return self.tokens[: min(self.length, self.exact)]

    @property
    def room(self) -> int:
        """How many more tokens the context has room for."""
        return len(self.tokens) - self.length

    @property
    def shared_length(self) -> int:
        return sum(run.length for run in self.shared)


def count_cells(slots: Iterable[Slot]) -> int:
    """Count the cells that the slots hold, those they share once."""
    runs: dict[int, int] = {}
    own = 0
    for slot in slots:
        own += slot.length - slot.shared_length
        runs.update((id(run), run.length) for run in slot.shared)
    return own + sum(runs.values())


def fork(slots: Iterable[Slot], source: Slot, branch: Slot, length: int) -> None:
    """Record that an empty branch now shares the first tokens of the source."""
    _split(slots, source, length)
    end = 0
    for run in source.shared:
        end += run.length
        if end > length:
            break
        branch.shared.append(run)
    branch.tokens[:length] = source.tokens[:length]
    branch.length, branch.still = length, length - source.position_of(length)
    branch.sound = min(source.sound, length)


def cut(slots: Iterable[Slot], slot: Slot, length: int) -> None:
    """Record that a slot holds only its first tokens any longer."""
    if length < slot.shared_length:
        _split(slots, slot, length)
        while slot.shared_length > length:
            slot.shared.pop()
    slot.length, slot.still = length, length - slot.position_of(length)
    slot.sound, slot.written = min(slot.sound, length), min(slot.written, length)
    slot.exact = EVERYTHING if slot.exact >= length else slot.exact
    slot.checkpoints = [checkpoint for checkpoint in slot.checkpoints if checkpoint.length <= length]
    slot.pin = slot.pin and slot.pin.cut(length)


def _split(slots: Iterable[Slot], slot: Slot, length: int) -> None:
    """Have a run of the slot end after `length` tokens."""
    begin = 0
    for run in slot.shared:
        if begin < length < begin + run.length:
            parts = [Run(length - begin), Run(begin + run.length - length)]
            for holder in slots:
                holder.shared = [part for old in holder.shared for part in (parts if old is run else [old])]
            return
        begin += run.length
    if begin < length:
        slot.shared.append(Run(length - begin))
