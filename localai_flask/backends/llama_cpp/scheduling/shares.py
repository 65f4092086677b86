"""What one step computes of one sequence: of its prompt, of an image, or behind what it has written."""

from __future__ import annotations

from typing import NamedTuple

from localai_flask.backends.llama_cpp.scheduling.batch import Tokens
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence
from localai_flask.backends.llama_cpp.vision.placing import PlacedChunk


class Chunk(NamedTuple):
    """A sequence's share of a batch: these tokens of its prompt, the last of which has this index in the batch."""

    sequence: Sequence
    tokens: Tokens
    last: int


class ImageShare(NamedTuple):
    """The next `length` tokens of a sequence's prompt, which are of an image, and are computed apart from others."""

    sequence: Sequence
    placed: PlacedChunk
    length: int

    @property
    def chunk(self) -> Chunk:
        """The same as a share of a batch of its own."""
        begin = self.sequence.slot.length
        return Chunk(self.sequence, self.sequence.prompt[begin : begin + self.length], self.length - 1)


class Share(NamedTuple):
    """What a running sequence computes in a step, beside its guesses, and at which index in the batch it goes on."""

    sequence: Sequence
    tokens: list[int]
    row: int | None
