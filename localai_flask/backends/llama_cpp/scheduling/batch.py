"""The arrays of one step: the tokens that go in and the logits that come out, as numpy arrays over C memory.

Knows positions and sequence ids, but not what they are for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.sampling.candidates import Candidates

Tokens = npt.NDArray[np.int32]


class Batch:
    """A `llama_batch` of up to `capacity` tokens, each of one sequence.

    The memory belongs to numpy, so that it is filled by slices. Logits are computed only where a token will be sampled.
    """

    def __init__(self, capacity: int):
        self.size = 0
        self._token = np.zeros(capacity, np.int32)
        self._position = np.zeros(capacity, np.int32)
        self._sequence = np.zeros(capacity, np.int32)
        self._wanted = np.zeros(capacity, np.int8)
        self._counts = np.ones(capacity, np.int32)
        # llama_batch wants a pointer for each token to its sequence ids.
        self._pointers = self._sequence.ctypes.data + np.arange(capacity, dtype=np.uint64) * self._sequence.itemsize
        self._ramp = np.arange(capacity, dtype=np.int32)
        self._struct = lib.llama_batch(
            n_tokens=0,
            token=_pointer(self._token, ctypes.c_int32),
            pos=_pointer(self._position, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._pointers, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )

    @property
    def struct(self) -> Any:
        """The `llama_batch` of what was added since `clear`."""
        self._struct.n_tokens = self.size
        return self._struct

    def clear(self) -> None:
        self.size = 0

    def add_tokens(self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int]) -> int:
        """Add single tokens of several sequences, each to be sampled from; return the first one's index."""
        begin, end = self.size, self.size + len(tokens)
        self._token[begin:end] = tokens
        self._position[begin:end] = positions
        self._sequence[begin:end] = sequences
        self._wanted[begin:end] = 1
        self.size = end
        return begin

    def add_stream(self, tokens: Sequence[int], position: int, sequence: int, known: int | None) -> int | None:
        """Add consecutive tokens, the first `known` of them known, the others guessed; return the last known's index.

        It is sampled from, and so are the guessed ones; nothing is if `known` is None.
        """
        begin, end = self.size, self.size + len(tokens)
        self._token[begin:end] = tokens
        self._position[begin:end] = self._ramp[: len(tokens)] + position
        self._sequence[begin:end] = sequence
        self._wanted[begin:end] = 0
        self.size = end
        if known is None:
            return None
        self._wanted[begin + known - 1 : end] = 1
        return begin + known - 1

    def add_chunk(self, tokens: Tokens, position: int, sequence: int, *, is_last: bool, wants_all: bool = False) -> int:
        """Add consecutive tokens and give the last one's index; it is sampled from if the prompt ends with it.

        `wants_all` asks for the logits behind each of them.
        """
        begin, end = self.size, self.size + len(tokens)
        self._token[begin:end] = tokens
        self._position[begin:end] = self._ramp[: len(tokens)] + position
        self._sequence[begin:end] = sequence
        self._wanted[begin:end] = wants_all
        self._wanted[end - 1] = wants_all or is_last
        self.size = end
        return end - 1


class Logits:
    """The logits of the last decoded batch, without copying them."""

    def __init__(self, context: Any, vocabulary_size: int):
        self.context = context
        self.candidates = Candidates(vocabulary_size)
        self._row_type = ctypes.c_float * vocabulary_size

    def row(self, index: int) -> npt.NDArray[np.float32]:
        """Return the logits at a batch index that wanted them, shape (vocabulary,), valid until the next decode."""
        pointer = lib.llama_get_logits_ith(self.context, index)
        memory: Any = self._row_type.from_address(ctypes.addressof(pointer.contents))
        # np.ctypeslib.as_array does the same in five times the time, which matters once per token.
        row: npt.NDArray[np.float32] = np.frombuffer(memory, np.float32)
        return row


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
