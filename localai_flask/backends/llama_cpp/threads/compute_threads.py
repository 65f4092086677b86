"""With how many threads a model's steps are computed, and whether they spin while they wait: measured at load.

Owns these numbers and the steps by which they are measured. Steps themselves are computed by the model.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from localai_flask.backends.llama_cpp.model.context import USUAL_STREAMS
from localai_flask.backends.llama_cpp.model.library import lib, spin_switch
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.scheduling.batch import Batch
from localai_flask.backends.llama_cpp.threads.thread_count import Choice, candidates, choose_threads
from localai_flask.backends.llama_cpp.threads.waiting import WORTH_IT, WaitChoice
from localai_flask.machine import physical_cores

if TYPE_CHECKING:
    from localai_flask.backends.llama_cpp.model.model import Model
    from localai_flask.backends.llama_cpp.vision.placing import ImageBatch

log = logging.getLogger(__name__)

PROMPT_PART = 64
"""Tokens of a prompt that are computed to time it: enough to be bound by computing, and over soon."""
LEAST_PART, LONGEST_PART_S = 8, 0.05
"""Fewer tokens tell nothing about prompts; where these take longer than that, every core has enough to do."""


class ComputeThreads:
    """The threads of one model; what nobody has chosen is measured with it."""

    def __init__(self, model: Model, options: EngineOptions):
        self._model, self._options = model, options
        self.prompts = options.threads_batch or physical_cores()
        """How many compute steps with prompts, and vectors."""
        self.decoding = options.threads or self.prompts
        """How many compute steps without, if they sleep while they wait."""
        self.decoding_spinning = self.decoding_alone = self.decoding
        """How many do if they spin, and how many for a lone sequence, in whichever way they wait."""
        self.wait: WaitChoice | None = None
        """None: they always wait in the same way."""
        self._decode_s = 0.0

    def compute(self, batch: Batch | ImageBatch, *, with_prompt: bool, alone: bool = False) -> None:
        """Compute a step with as many threads as suit it; what a lone sequence computes has the same bits each time."""
        wait = self.wait
        if wait is None or spin_switch is None:
            self._model.compute(batch, self.prompts if with_prompt else self.decoding)
            return
        spin_switch.set(spins=wait.spins)
        decoding = self.decoding_spinning if wait.spins else self.decoding
        if alone and self._model.uses_flash:  # its sums for one token are split between the threads
            decoding = self.decoding_alone
        begun = time.perf_counter()
        self._model.compute(batch, self.prompts if with_prompt else decoding)
        wait.observe((with_prompt, batch.size), time.perf_counter() - begun)

    def warm_up(self, size: int = 1) -> None:
        """Compute a token or a prompt, so that the first request waits for no pages of the file and no buffers."""
        self.compute(self._prompt(size), with_prompt=size > 1)
        lib.llama_memory_clear(self._model.memory, True)

    def choose_counts(self) -> None:
        """Measure how many threads suit steps with and without prompts, where nobody has chosen."""
        begun = time.perf_counter()
        self.warm_up()
        # A prompt's token costs at most what a step of one token does, so this bounds the time of a measured step.
        part = int(LONGEST_PART_S / (time.perf_counter() - begun))
        if not self._options.threads_batch and part >= LEAST_PART:
            prompt = self._prompt(min(part, PROMPT_PART, self._model.n_batch))
            self.prompts = self._measure(prompt, candidates(physical_cores())).threads
        self.decoding, self._decode_s = self._measure_decoding()
        lib.llama_memory_clear(self._model.memory, True)
        log.info("%s: %d threads, %d for prompts", self._model.path.name, self.decoding, self.prompts)

    def choose_waiting(self) -> None:
        """Measure whether threads had better spin than sleep while they wait; `compute` goes on comparing.

        For one model of the process, since they wait in the same way for all.
        """
        if spin_switch is None:
            return
        spin_switch.set(spins=True)
        spinning = self._measure_decoding()
        lib.llama_memory_clear(self._model.memory, True)
        spins = spinning.seconds < WORTH_IT * self._decode_s
        spin_switch.set(spins=spins)
        # One thread may only have been faster because other programs had the cores, which is compared again.
        most = spinning.threads if spinning.threads > 1 else self._options.threads or physical_cores()
        if max(self.decoding, most) > 1:
            self.decoding_spinning, self.wait = most, WaitChoice(spins=spins and most == spinning.threads)
            self.decoding_alone = max(self.decoding, spinning.threads)
        log.info("%s: threads %s while they wait", self._model.path.name, "spin" if spins else "sleep")

    def _measure_decoding(self) -> Choice:
        """Time steps of as many sequences as usually run at once."""
        size, threads = min(self._model.slots, USUAL_STREAMS, self._model.n_batch), self._options.threads
        batch = Batch(size)
        batch.add_tokens([self._token] * size, [0] * size, range(size))
        return self._measure(batch, [threads] if threads else candidates(physical_cores()))

    def _measure(self, batch: Batch, counts: list[int]) -> Choice:
        def step(threads: int) -> None:
            lib.llama_memory_clear(self._model.memory, False)
            self._model.compute(batch, threads)

        return choose_threads(step, counts)

    def _prompt(self, size: int) -> Batch:
        batch = Batch(size)
        batch.add_chunk(np.full(size, self._token, np.int32), 0, 0, is_last=True)
        return batch

    @property
    def _token(self) -> int:
        """A token that any model may begin with."""
        return max(self._model.vocabulary.bos, 0)
