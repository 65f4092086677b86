"""Which of llama.cpp's two ways to compute attention makes steps faster: measured at load, with filled caches.

Plain attention multiplies by the cells of all sequences and keeps a number for each; flash attention passes over those
of others, and reads the numbers of its own less quickly. Which is ahead depends on the processor, the model, and how
many sequences have how many tokens. Owns the measurement and the small contexts for it.
"""

from __future__ import annotations

import functools
import logging
import math
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from localai_flask.backends.llama_cpp.cache.states import States
from localai_flask.backends.llama_cpp.model.context import FLASH_ATTENTION, USUAL_STREAMS, Shape, is_elsewhere
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.options.kinds import UNQUANTIZED
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.scheduling.batch import Batch

log = logging.getLogger(__name__)

PLAIN_UBATCH = 128
"""Tokens at once that suit plain attention, whose numbers for them should stay in the processor's caches."""
PLAIN_BYTES = 512 << 20
"""The most that plain attention may take beside the cache: a number for each head, cell, and token computed at once."""
DEPTH, LEAST_DEPTH = 1024, 256
"""Tokens before a measured step, as in a chat of some turns; with fewer than the least, attention hardly counts."""
PROBE_BYTES = 128 << 20
"""The most that the cache of a measurement may take."""
SEED = 16
"""Tokens that are computed to fill a cache; the others are copies of them."""
BUDGET_S, ROUNDS = 0.3, 9
LONGEST_STEP_S, LONGEST_TOKEN_S = 0.15, 0.05
"""A model is not measured whose steps take longer, or that of one token: it would take seconds, mostly for weights."""
WORTH_IT = 0.9
"""Plain attention is chosen if its steps take at most this share of the time."""


def choose_attention(handle: Any, params: Any, options: EngineOptions, slots: int) -> None:
    """Have a context compute attention in the plain way, if nobody has chosen and that is measured to be faster."""
    n_ubatch, streams = plain_ubatch(params, options, slots, lib.llama_model_n_head(handle)), min(slots, USUAL_STREAMS)
    depth = depth_to_measure(handle, params, options, streams)
    if n_ubatch and depth and prefers_plain(handle, params, streams, depth):
        params.flash_attn_type, params.n_ubatch = FLASH_ATTENTION["off"], n_ubatch


def plain_ubatch(params: Any, options: EngineOptions, slots: int, heads: int) -> int:
    """Return how many tokens plain attention would compute at once; 0 if it cannot be chosen."""
    is_free = options.flash_attention == "auto" and {options.cache_type_k, options.cache_type_v} <= {*UNQUANTIZED}
    n_ubatch = max(options.n_ubatch or min(PLAIN_UBATCH, options.n_batch), slots)
    fits = 4 * heads * params.n_ctx * n_ubatch <= PLAIN_BYTES
    return n_ubatch if is_free and fits and not is_elsewhere(options) else 0


def depth_to_measure(handle: Any, params: Any, options: EngineOptions, slots: int) -> int:
    """Return before how many tokens of each slot to measure; 0 if that would tell nothing."""
    token_bytes = max(Shape.of(handle).cache_bytes(options, 1), 1)
    depth: int = min(DEPTH, params.n_ctx // slots // 2, PROBE_BYTES // (token_bytes * (slots + 1)))
    return depth if depth >= LEAST_DEPTH else 0


def prefers_plain(handle: Any, params: Any, slots: int, depth: int) -> bool:
    """Time steps of a lone sequence, and of one in each slot, with that many tokens before them, in both ways.

    One thread computes them, whose time on a core tells nothing of other programs.
    """
    with ExitStack() as undo:
        probes: list[Probe] = []
        for way in ("off", "on"):
            probe = Probe.of(handle, params, FLASH_ATTENTION[way], slots, depth)
            if probe is None:
                return False
            undo.callback(lib.llama_free, probe.context)
            if not probes and time_of(probe) > LONGEST_TOKEN_S:
                return False
            probes.append(probe)
        shares = []
        for streams in sorted({1, slots}):
            if not all(probe.fill(streams, depth) for probe in probes):
                return False
            plain, flash = (functools.partial(probe.step, streams) for probe in probes)
            shares.append(compare(plain, flash))
    share = math.prod(shares) ** (1 / len(shares))
    log.info("with %d tokens before them, steps of plain attention take %.2f of flash attention's", depth, share)
    return share <= WORTH_IT


def time_of(probe: Probe) -> float:
    """Return how long a step of one token takes with nothing before it."""
    probe.step(1)  # brings the weights into memory
    begun = time.thread_time()
    probe.step(1)
    return time.thread_time() - begun


def compare(
    one: Callable[[], object], other: Callable[[], object], clock: Callable[[], float] = time.thread_time
) -> float:
    """Return which share of the other's time one takes; 1 if either takes too long to find out."""
    taken: list[tuple[float, float]] = []
    end = clock() + BUDGET_S
    for number in range(ROUNDS + 1):
        times = []
        for step in (one, other):
            begun = clock()
            step()
            times.append(clock() - begun)
            if times[-1] > LONGEST_STEP_S:
                return 1.0
        if number:  # the first round fills the processor's caches
            taken.append((times[0], times[1]))
        if taken and clock() > end:
            break
    first, second = (statistics.median(column) for column in zip(*taken, strict=True))
    return float(first / second)


class Probe:
    """A small context on a model's weights: a sequence for each slot, and a spare one by which these are filled."""

    def __init__(self, context: Any, slots: int):
        self.context = context
        self._spare = slots
        self._length = 0
        self._states = States(context)
        self._memory = lib.llama_get_memory(context)
        self._batch = Batch(max(slots, SEED))

    @classmethod
    def of(cls, handle: Any, params: Any, flash: int, slots: int, depth: int) -> Probe | None:
        """Make one like the context that the parameters are for; None if the library cannot."""
        own = type(params).from_buffer_copy(params)
        own.n_ctx, own.n_seq_max = (slots + 1) * (depth + SEED), slots + 1
        own.n_batch = own.n_ubatch = max(slots, SEED)
        own.n_outputs_max = slots + 1
        own.flash_attn_type, own.n_threads, own.n_threads_batch = flash, 1, 1
        context = lib.llama_init_from_model(handle, own)
        return None if context is None else cls(context, slots)

    def fill(self, streams: int, depth: int) -> bool:
        """Have the first sequences hold about that many tokens; return whether the library could."""
        if not self._length and not self._fill_first(depth):
            return False
        state = self._states.read(0)
        return all(self._states.write(sequence, state) for sequence in range(1, streams))

    def _fill_first(self, depth: int) -> bool:
        """Compute some tokens and double them by copies at the same positions, which take as long to attend to."""
        self._batch.clear()
        self._batch.add_chunk(np.zeros(SEED, np.int32), 0, 0, is_last=False)
        if lib.llama_decode(self.context, self._batch.struct) != 0:
            return False
        count = self._length = SEED
        while 2 * count <= depth:
            if not self._states.write(self._spare, self._states.read(0)):
                return False
            lib.llama_memory_seq_cp(self._memory, self._spare, 0, -1, -1)
            lib.llama_memory_seq_rm(self._memory, self._spare, -1, -1)
            count *= 2
        return True

    def step(self, streams: int) -> None:
        """Compute a token of each of the first sequences, which is forgotten again."""
        self._batch.clear()
        self._batch.add_tokens([0] * streams, [self._length] * streams, range(streams))
        lib.llama_decode(self.context, self._batch.struct)
        lib.llama_synchronize(self.context)
        lib.llama_memory_seq_rm(self._memory, -1, self._length, -1)
