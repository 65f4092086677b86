"""When the state of a memory that forgets is worth a checkpoint, and which checkpoints stay.

Recurrent states and sliding windows cannot go back to an earlier token, so a prompt that differs from the cached one
starts from the last checkpoint before the difference.
"""

from __future__ import annotations

from localai_flask.backends.llama_cpp.cache.branches import Slot
from localai_flask.backends.llama_cpp.cache.states import Checkpoint, States
from localai_flask.backends.llama_cpp.scheduling.grain import Grain
from localai_flask.machine import SPARED_BYTES, available_memory

TAIL = 8
"""How far before a prompt's end a checkpoint is made: what a template puts before an answer may differ later."""
WORTH_KEEPING = 32
"""Fewest tokens that are worth a checkpoint."""


class Checkpoints:
    """Makes at most `count` checkpoints per slot; all but the newest are at least `min_step` tokens apart."""

    def __init__(self, states: States, count: int, min_step: int, grain: Grain | None = None):
        """The grain says where a lone request may start from."""
        self._states = states
        self._count = count
        self._min_step = min_step
        self._grain = grain

    @property
    def are_made(self) -> bool:
        return self._count > 0

    def next_stop(self, slot: Slot, prompt_length: int, *, alone: bool) -> int:
        """Return where the next chunk of a prompt, of a lone request perhaps, has to end at the latest."""
        stops = [stop for stop in (*slot.stops, self._tail(prompt_length, alone)) if slot.length < stop]
        return min(stops, default=prompt_length)

    def note(self, slot: Slot, prompt_length: int, *, alone: bool) -> None:
        """Make a checkpoint of the slot if it is worth one and the machine has memory to spare."""
        last = slot.checkpoints[-1].length if slot.checkpoints else 0
        if slot.length <= last:
            return
        is_stop = slot.length in slot.stops or slot.length == self._tail(prompt_length, alone)
        if not is_stop and slot.length < last + self._min_step:
            return
        slot.stops.discard(slot.length)
        if available_memory() < SPARED_BYTES:
            return
        self._drop(slot.checkpoints)
        slot.checkpoints.append(Checkpoint(slot.length, self._states.read_partial(slot.id)))

    def _tail(self, prompt_length: int, alone: bool) -> int:
        """Where the checkpoint before the end of a prompt is made; 0: nowhere."""
        tail = prompt_length - TAIL
        if self._grain is not None and alone:
            tail = self._grain.floor(tail, prompt_length)
        return tail if tail >= WORTH_KEEPING else 0

    def _drop(self, checkpoints: list[Checkpoint]) -> None:
        """Make room for one more: drop the newest if it is too close to the one before, else the least apart."""
        lengths = [0, *(checkpoint.length for checkpoint in checkpoints)]
        if len(checkpoints) and lengths[-1] - lengths[-2] < self._min_step:
            checkpoints.pop()
        elif len(checkpoints) >= self._count:
            gaps = [lengths[i + 2] - lengths[i] for i in range(len(checkpoints) - 1)]
            del checkpoints[gaps.index(min(gaps)) if gaps else 0]
