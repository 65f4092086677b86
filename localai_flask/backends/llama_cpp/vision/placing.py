"""Where the images of a prompt stand among its tokens, and what the model reads in their place."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.vision.chunks import ImageChunk, Tokens, chunk_begins
from localai_flask.generation import Image

Embedding = npt.NDArray[np.float32]


@dataclass(eq=False, slots=True)
class PlacedChunk:
    """A chunk of an image in one prompt."""

    begin: int
    chunk: ImageChunk
    image: Image
    number: int
    """Which of its image's chunks it is."""
    embedding: Embedding | None = None
    """What the model reads; None until the image is encoded."""
    coming: Future[Any] | None = None
    """What is done once it is encoded, if that was asked for."""

    @property
    def end(self) -> int:
        return self.begin + self.chunk.length


def place(tokens: Tokens, images: Iterable[tuple[Image, Sequence[ImageChunk]]]) -> list[PlacedChunk]:
    """Find the chunks of images, given in their order, among a prompt's tokens."""
    chunks = [(image, number, chunk) for image, each in images for number, chunk in enumerate(each)]
    return [
        PlacedChunk(begin, chunk, image, number)
        for begin, (image, number, chunk) in zip(chunk_begins(tokens), chunks, strict=True)
    ]


class ImageBatch:
    """A `llama_batch` of consecutive tokens of one image; the last one is sampled from if the prompt ends with it."""

    def __init__(self, embedding: Embedding, positions: Tokens, sequence: int, *, is_last: bool):
        """`positions` has a row for each dimension of a position."""
        self.size = size = len(embedding)
        self._embedding = np.ascontiguousarray(embedding)
        self._positions = np.ascontiguousarray(positions)
        self._counts = np.ones(size, np.int32)
        self._sequence = np.full(size, sequence, np.int32)
        self._pointers = self._sequence.ctypes.data + np.arange(size, dtype=np.uint64) * self._sequence.itemsize
        self._wanted = np.zeros(size, np.int8)
        self._wanted[-1] = is_last
        self.struct = lib.llama_batch(
            n_tokens=size,
            embd=_pointer(self._embedding, ctypes.c_float),
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._pointers, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )


def piece_of(placed: PlacedChunk, begin: int, count: int, position: int) -> tuple[Embedding, Tokens]:
    """Return what the model reads of a chunk from a token of the prompt on, with its positions.

    `position` is that of the chunk's first token.
    """
    assert placed.embedding is not None
    first = begin - placed.begin
    positions = placed.chunk.positions[:, first : first + count].copy()
    positions[:3] += position  # in time, height and width; nothing reads the fourth
    return placed.embedding[first : first + count], positions


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
