"""Sequences of the cache as bytes in host memory, and back: whole, or only the part that cannot be rolled back.

Knows what llama.cpp calls them, but not when they are worth keeping.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from localai_flask.backends.llama_cpp.model.library import lib

State = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """What a memory that forgets knew after `length` tokens: the recurrent state, or the cells of the window."""

    length: int
    state: State


class States:
    """Reads and writes the sequences of one context."""

    def __init__(self, context: Any):
        self._context = context
        self.memory = lib.llama_get_memory(context) if context is not None else None

    def size(self, sequence: int) -> int:
        """Return the bytes of a copy of all that the cache holds of a sequence."""
        return int(lib.llama_state_seq_get_size_ext(self._context, sequence, lib.LLAMA_STATE_SEQ_FLAGS_NONE))

    def read(self, sequence: int) -> State:
        """Copy all that the cache holds of a sequence."""
        return self._read(sequence, lib.LLAMA_STATE_SEQ_FLAGS_NONE)

    def read_partial(self, sequence: int) -> State:
        """Copy what cannot be rolled back; all of it, for a model with nothing but a recurrent state."""
        return self._read(sequence, lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)

    def write(self, sequence: int, state: State) -> bool:
        """Put a state in the place of what the cache holds of a sequence; False, and nothing is left, without room."""
        return self._write(sequence, state, lib.LLAMA_STATE_SEQ_FLAGS_NONE)

    def write_partial(self, sequence: int, state: State) -> bool:
        return self._write(sequence, state, lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)

    def _read(self, sequence: int, flags: int) -> State:
        size = lib.llama_state_seq_get_size_ext(self._context, sequence, flags)
        state = np.empty(size, np.uint8)
        written = lib.llama_state_seq_get_data_ext(self._context, _pointer(state), size, sequence, flags)
        return state[:written]

    def _write(self, sequence: int, state: State, flags: int) -> bool:
        return bool(lib.llama_state_seq_set_data_ext(self._context, _pointer(state), state.size, sequence, flags))


def _pointer(state: State) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
