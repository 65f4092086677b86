"""Guessing ahead with a second, smaller model of the same vocabulary, for several sequences in one batch.

Owns that model and which sequence each lane of its cache follows.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.llama_cpp.cache.shifting import common_prefix
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.model.offload import fit_to_gpus
from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.scheduling.batch import Batch, Tokens
from localai_flask.backends.llama_cpp.scheduling.pace import Pace
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence
from localai_flask.config.files.gguf import inspect
from localai_flask.errors import ConfigError

MOST_GUESSES = 3
"""How many tokens are guessed at most where the YAML does not say."""
WORTH_SHARING = 32
"""A sequence takes over what was read for another if that spares it this many tokens."""
MOST_DIFFERENCE, FIRST_COMPARED = 128, 5
"""What llama.cpp's own programs let two vocabularies differ in: the length, and the first few tokens."""


@dataclass(eq=False)
class _Lane:
    id: int
    tokens: Tokens
    length: int = 0
    sequence: Sequence | None = None


class DraftModel:
    """Guesses what it finds likeliest itself, as long as that is at least `p_min` likely."""

    def __init__(self, path: Path, options: EngineOptions, target: Model, progress: LoadProgress):
        """Load the model; raise `ConfigError` or `ModelLoadFailed` if it cannot guess for the target."""
        self.most, self._p_min = options.speculation.spec_n_max or MOST_GUESSES, options.speculation.spec_p_min
        inspect(path, named_by="draft_model")
        self.model = Model(path, fit_to_gpus(path, _own_options(options, target)), progress, target.capture)
        try:
            self._check(path, target)
        except ConfigError:
            self.model.close()
            raise
        self._lanes = [_Lane(i, np.zeros(target.context_size, np.int32)) for i in range(target.slots)]
        self._batch = Batch(self.model.n_batch)
        self._pace = Pace(self.model.n_batch)
        self._size = target.vocabulary.size

    def close(self) -> None:
        self.model.close()

    def propose(self, wanted: dict[Sequence, int]) -> None:
        """Set the guesses of the sequences, for each no more than `wanted` says."""
        active = self._read(wanted)
        while active:
            chosen = [(lane, sequence, token) for lane, sequence, row in active if (token := self._choose(row)) >= 0]
            self._batch.clear()
            active = []
            for lane, sequence, token in chosen:
                sequence.draft.append(token)
                if len(sequence.draft) < wanted[sequence] and token not in self.model.vocabulary.ends:
                    row = self._add(lane, np.array([token], np.int32), is_last=True)
                    active.append((lane, sequence, row))
            if active:
                self.model.decode(self._batch, with_prompt=False)

    def _read(self, wanted: Iterable[Sequence]) -> list[tuple[_Lane, Sequence, int]]:
        """Read what is new, as far as the pace allows and the shortest first; return who is read to the end, and where.

        What was last said of each is always read, so that nobody waits for a newcomer's long prompt.
        """
        self._batch.clear()
        read = []
        histories = [(sequence, sequence.known_tokens()) for sequence in wanted]
        behind = [(self._lane(sequence, history, wanted), sequence, history) for sequence, history in histories]
        for lane, _, history in behind:  # before anything is added, which no other lane could share yet
            self._take_over(lane, history)
        room = max(self._pace.budget(len(behind)), (1 + self.most) * len(behind))
        room, begun = min(room, self.model.n_batch), time.perf_counter()
        beside: list[Tokens] = []
        for lane, sequence, history in sorted(behind, key=lambda each: len(each[2]) - each[0].length):
            tokens = history[lane.length : lane.length + room - self._batch.size]
            worth = lane.length + WORTH_SHARING
            if len(history) >= worth and any(common_prefix(other, history) >= worth for other in beside):
                continue  # it takes over in the next step what another reads in this one
            if not len(tokens):
                continue
            beside.append(history)
            is_last = lane.length + len(tokens) == len(history)
            row = self._add(lane, tokens, is_last=is_last)
            if is_last:
                read.append((lane, sequence, row))
        if self._batch.size:
            self.model.decode(self._batch, with_prompt=self._batch.size > len(self._lanes))
            self._pace.observe(self._batch.size, 0, time.perf_counter() - begun)
        return read

    def observe(self, streams: int, seconds: float) -> None:
        """Learn how long the other model takes for a step of its streams, by which catching up is paced."""
        self._pace.observe(0, streams, seconds)

    def _take_over(self, lane: _Lane, history: Tokens) -> None:
        """Have a lane share what another one has read of the same beginning, as that of several choices."""
        if len(history) - lane.length < WORTH_SHARING:
            return
        source = max(self._lanes, key=lambda other: common_prefix(other.tokens[: other.length], history))
        common = min(common_prefix(source.tokens[: source.length], history), len(history) - 1)
        if common < lane.length + WORTH_SHARING:
            return
        lib.llama_memory_seq_rm(self.model.memory, lane.id, -1, -1)
        lib.llama_memory_seq_cp(self.model.memory, source.id, lane.id, 0, common)
        lane.tokens[:common] = history[:common]
        lane.length = common

    def _lane(self, sequence: Sequence, history: Tokens, others: Iterable[Sequence]) -> _Lane:
        """Return a sequence its lane, cut back to what both have in common."""
        lane = next((lane for lane in self._lanes if lane.sequence is sequence), None)
        if lane is None:
            running = set(others)
            free = [lane for lane in self._lanes if lane.sequence not in running]
            lane = max(free, key=lambda lane: common_prefix(lane.tokens[: lane.length], history))
            lane.sequence = sequence
        common = min(common_prefix(lane.tokens[: lane.length], history), len(history) - 1)
        if common < lane.length:
            lib.llama_memory_seq_rm(self.model.memory, lane.id, common, -1)
            lane.length = common
        return lane

    def _add(self, lane: _Lane, tokens: Tokens, *, is_last: bool) -> int:
        row = self._batch.add_chunk(tokens, lane.length, lane.id, is_last=is_last)
        lane.tokens[lane.length : lane.length + len(tokens)] = tokens
        lane.length += len(tokens)
        return row

    def _choose(self, row: int) -> int:
        """Return the likeliest token; -1 if it is not likely enough or not in the target's vocabulary."""
        logits = self.model.logits.row(row)
        token = int(logits.argmax())
        if token >= self._size or (self._p_min > 0 and 1 / float(np.exp(logits - logits[token]).sum()) < self._p_min):
            return -1
        return token

    def _check(self, path: Path, target: Model) -> None:
        if self.model.is_recurrent:
            raise ConfigError(
                f"The draft model {path.name} keeps a state that cannot go back behind wrong guesses; choose another "
                "`draft_model`.",
                param="draft_model",
            )
        if difference := _difference(self.model.vocabulary, target.vocabulary):
            raise ConfigError(
                f"The draft model {path.name} has another vocabulary than {target.path.name} ({difference}); choose "
                "one of the same family, or the option spec_type:ngram-simple, which needs none.",
                param="draft_model",
            )


def _own_options(options: EngineOptions, target: Model) -> EngineOptions:
    """Make the draft model's options: its own where there are any, and as much context as the target has."""
    own = options.speculation
    return dataclasses.replace(
        options,
        parallel=target.slots,
        context_size=target.context_size,
        gpu_layers=options.gpu_layers if own.draft_gpu_layers is None else own.draft_gpu_layers,
        cache_type_k=options.cache_type_k if own.draft_cache_type_k is None else own.draft_cache_type_k,
        cache_type_v=options.cache_type_v if own.draft_cache_type_v is None else own.draft_cache_type_v,
        threads=max(own.draft_threads or 0, 0) or target.threads.decoding,
        threads_batch=max(own.draft_threads_batch or 0, 0) or target.threads.prompts,
        cpu_moe=own.draft_cpu_moe,
        n_cpu_moe=own.draft_n_cpu_moe,
        override_tensor=own.draft_override_tensor,
        swa_full=True,
        adapters=(),
        overrides=(),
        mmproj=None,
        rope={},
        rope_scaling="",
    )


def _difference(draft: Vocabulary, target: Vocabulary) -> str:
    """Return in what two vocabularies differ; "" if the ids of one mean the same in the other."""
    kinds = [lib.llama_vocab_type(vocabulary.handle) for vocabulary in (draft, target)]
    if kinds[0] != kinds[1]:
        return "it cuts text in another way"
    if abs(draft.size - target.size) > MOST_DIFFERENCE:
        return f"{draft.size} tokens, not {target.size}"
    if (draft.wants_bos, draft.wants_bos and draft.bos) != (target.wants_bos, target.wants_bos and target.bos):
        return "another token begins a text"
    text = lib.llama_vocab_get_text
    for token in range(FIRST_COMPARED, min(draft.size, target.size)):
        if text(draft.handle, token) != text(target.handle, token):
            return f"its token {token} is {draft.text(token)!r}, not {target.text(token)!r}"
    return ""
