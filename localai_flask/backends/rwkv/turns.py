"""Whose token is computed next: the network reads one text at a time, so all take turns.

Each sequence that writes gets a token for every piece that is read of a prompt. Among prompts the one with the least
left comes first, so that a short one passes a long one; every few pieces the oldest does, so that none waits for ever.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import torch

from localai_flask.backends.output.output import Output
from localai_flask.backends.rwkv.state_cache import NOTHING, Remembered, State, StateCache
from localai_flask.backends.token_choice.sampler import TokenSampler

PIECE = 256
"""Tokens of a prompt that are read at once, as in the library's own loop: it makes the same sums then."""
PASSING = 4
"""Of this many pieces, one is the oldest prompt's."""


class Network(Protocol):
    """The library's model."""

    def forward(self, tokens: list[int], state: State | None) -> tuple[torch.Tensor, State]: ...


@dataclass(eq=False)
class Sequence:
    """One job on its way."""

    output: Output
    sampler: TokenSampler
    prompt: list[int]
    text: Remembered = NOTHING
    """The network behind the last token that it read."""
    waiting: int | None = None
    """The token that was chosen last, which the network has not read."""
    started: bool = False
    is_shared: bool = True
    """Whether what is computed for it may serve others, and theirs it."""
    made: list[int] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How much of the prompt has to be read."""
        return max(len(self.prompt) - self.text.length, 0)

    def history(self, last: int) -> list[int]:
        whole = [*self.prompt, *self.made]
        return whole if last < 0 else whole[-last:] if last else []


class Turns:
    """The sequences that read, and those that write."""

    def __init__(self) -> None:
        self.reading: list[Sequence] = []
        self._writing: deque[Sequence | None] = deque([None])
        """In the order of their turns; None stands for the prompts."""
        self._pieces = 0

    def __len__(self) -> int:
        return len(self.reading) + len(self._writing) - 1

    def add(self, sequence: Sequence) -> None:
        self.reading.append(sequence)

    def begin_writing(self, sequence: Sequence) -> None:
        """Let a sequence write whose prompt has been read."""
        self.reading.remove(sequence)
        self._writing.append(sequence)

    def drop(self, sequence: Sequence) -> None:
        """Forget a sequence."""
        if sequence in self.reading:
            self.reading.remove(sequence)
        elif sequence in self._writing:
            self._writing.remove(sequence)

    def take(self) -> Sequence | None:
        """Return whose turn it is, and put it behind all others; None if there is nobody."""
        for _ in range(len(self._writing)):
            turn = self._writing[0]
            self._writing.rotate(-1)
            if turn is not None or (turn := self._next_reading()) is not None:
                return turn
        return None

    def _next_reading(self) -> Sequence | None:
        if not self.reading:
            return None
        self._pieces += 1
        return self.reading[0] if self._pieces % PASSING == 0 else min(self.reading, key=lambda each: each.left)


class Reader:
    """Runs the network over the tokens of sequences."""

    def __init__(self, network: Network, cache: StateCache, piece: int = PIECE):
        self._network, self._cache, self._piece = network, cache, piece

    def recall(self, sequence: Sequence) -> None:
        """Begin with what is kept of another text that began alike."""
        if sequence.is_shared:
            sequence.text = self._cache.find(sequence.prompt)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def read(self, sequence: Sequence) -> None:
        """Read the next piece of the prompt, or the token that was chosen last."""
        at = sequence.text.length
        if sequence.left:
            self._read(sequence, sequence.prompt[at : at + self._piece])
            self.keep(sequence)
        elif sequence.waiting is not None:
            self._read(sequence, [sequence.waiting])
            sequence.waiting = None

    def keep(self, sequence: Sequence) -> None:
        """Keep what the network remembers of a text, for others that begin with it."""
        if sequence.is_shared and sequence.text is not NOTHING:
            tokens = [*sequence.prompt, *sequence.made][: sequence.text.length]
            self._cache.keep(tokens, sequence.text.state, sequence.text.logits)

    def _read(self, sequence: Sequence, tokens: list[int]) -> None:
        text = sequence.text
        # It puts the new state into the list that it is given.
        logits, state = self._network.forward(tokens, list(text.state) or None)
        sequence.text = Remembered(text.length + len(tokens), state, logits)
