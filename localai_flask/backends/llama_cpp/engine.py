"""The llama.cpp backend: the verbs of every engine, said with a model, a scheduler and samplers."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from localai_flask.backends.base import Backend, Event, Inquiry, Job, LoadProgress
from localai_flask.backends.llama_cpp.cache.disk.prompt_folder import open_disk
from localai_flask.backends.llama_cpp.cache.kv_cache import PrefixCache
from localai_flask.backends.llama_cpp.inquiries import Inquiries
from localai_flask.backends.llama_cpp.model.description import describe
from localai_flask.backends.llama_cpp.model.library import NoCells, capture_log
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.model.offload import fit_to_gpus
from localai_flask.backends.llama_cpp.model.untouched import count_untouched, give_back_untouched
from localai_flask.backends.llama_cpp.options.determinism import check_repeatable
from localai_flask.backends.llama_cpp.options.options import read_options
from localai_flask.backends.llama_cpp.preparation import Preparation
from localai_flask.backends.llama_cpp.rpc.client import tell_last_words
from localai_flask.backends.llama_cpp.sampling.sampler import Sampler
from localai_flask.backends.llama_cpp.scheduling.advance import advance
from localai_flask.backends.llama_cpp.scheduling.batch import Batch
from localai_flask.backends.llama_cpp.scheduling.pace import LEAST_CHUNK, Pace
from localai_flask.backends.llama_cpp.scheduling.prompt_logprobs import prompt_logprobs
from localai_flask.backends.llama_cpp.scheduling.scheduler import Scheduler
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence
from localai_flask.backends.llama_cpp.scheduling.shares import Chunk, Share
from localai_flask.backends.llama_cpp.speculation.speculation import Speculator
from localai_flask.backends.llama_cpp.vision.sight import Sight
from localai_flask.backends.side_thread import SideThread
from localai_flask.backends.takes import ALL_SAMPLING, Takes
from localai_flask.config.model import EngineConfig
from localai_flask.errors import Overloaded
from localai_flask.generation import ALL_CONSTRAINTS, Failed, Finished, ModelInfo, Progress, Reply, Started
from localai_flask.inquiry import Fact
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

MOMENT_S = 0.01
"""How long to wait for the disk while there is nothing to compute."""
GIVEN_UP = (
    "repacked weights, which make prompts faster: loading with them was killed by a fault of the engine's code; "
    "`localai-flask doctor` tries the engine and names the command to build it anew"
)


class LlamaCppBackend(Backend):
    """Serves one GGUF model to as many sequences at once as it has slots.

    A seed, or temperature 0, repeats its text as long as the logits are the same, which they are for requests that run
    alone. Beside others they differ in the last bits, since the library adds up in another order for more tokens; then
    a near tie can fall the other way.
    """

    capabilities = frozenset({"generate", "constrain", "end_thinking"})
    takes = Takes(ALL_SAMPLING, ALL_CONSTRAINTS, frozenset(("text", "tokens", "suffix", "image")))

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        settings = Settings.from_environment()
        options = replace(read_options(config, settings), repack=not self.is_cautious)
        tell_last_words(self.last_words)
        capture = capture_log(options.verbosity)
        options = fit_to_gpus(config.model_path, options)
        self.model = model = Model(config.model_path, options, progress, capture)
        if options.deterministic:
            check_repeatable(config.name, model.window, generates=model.generates, has_grain=model.grain is not None)
            log.info("model %s computes one request at a time, so that its answers are the same each time", config.name)
        self._is_deterministic = options.deterministic
        model.choose_waiting(options)
        must_reuse = any("cache_reuse" in option.replace("-", "_") for option in config.options)
        self.cache = PrefixCache(model, options, open_disk(model, options), must_reuse=must_reuse)
        self._speculator = Speculator.of(options, model, progress)
        self._pace = Pace(model.n_batch)
        self.scheduler = Scheduler(
            *(self.cache, self._pace, self._make_sampler),
            n_batch=model.n_batch,
            n_outputs=model.n_outputs,
            joins=options.cont_batching,
            splits_images=model.projector is None or model.projector.is_causal,
        )
        self._sight = None
        if model.projector is not None and model.generates:
            self._sight = Sight(model, model.projector, self.cache.count_held)
        self._batch = Batch(model.n_batch)
        self._tokenizing = SideThread("tokenizer")
        self._unannounced: list[Event] = []
        if model.generates:
            self._preparation = Preparation(model, self._sight, self._tokenizing, options)
        self.inquiries = Inquiries(model, options, self._tokenizing, self._sight)
        give_back_untouched()
        given_up = GIVEN_UP if self.is_cautious else ""
        return describe(model, self._able, self.inquiries.context_length, given_up)

    def prepare(self, job: Job) -> None:
        """Tokenize a job's prompt and compile its constraint.

        Raises `ContextOverflow` or `InvalidRequest`.
        """
        job.prepared = self._preparation.make(job)

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        return self._preparation.begin(job)

    @property
    def room(self) -> int:
        return self.scheduler.room

    def start(self, job: Job) -> bool:
        sequence: Sequence = job.prepared
        self.cache.set_stream_count(len(self.scheduler.decoding))
        if not self.scheduler.start(sequence):
            return False
        if self._sight is not None:
            self._sight.look_now(sequence)
        started: list[Event] = [(job.id, Started(len(sequence.prompt), job.num_cached, job.num_kept))]
        if self.announce is not None:
            self.announce(started)
        else:
            self._unannounced += started
        return True

    def ask_ahead(self, inquiry: Inquiry) -> Future[Any] | None:
        return self.inquiries.ask_ahead(inquiry)

    def ask(self, inquiry: Inquiry) -> Fact | None:
        return self.inquiries.ask(inquiry)

    @property
    def inquiry_room(self) -> int:
        return self.inquiries.room

    def start_inquiry(self, inquiry: Inquiry) -> None:
        self.inquiries.start(inquiry)

    def cancel(self, job_id: int) -> None:
        self.inquiries.cancel(job_id)
        sequence = self.scheduler.find(job_id)
        if sequence is not None:
            self.scheduler.remove(sequence)

    def step(self) -> list[Event]:
        """Plan, decode, sample, commit; raise `RuntimeError` if the library fails."""
        scheduler, batch = self.scheduler, self._batch
        if self.announce is not None and (scheduler.prefilling or not self.inquiries.is_idle):
            self.announce([])
        events = [*self._unannounced, *self.inquiries.step(len(scheduler.decoding))]
        self._unannounced.clear()
        self.cache.set_stream_count(len(scheduler.decoding))
        streams = scheduler.take_turn(scheduler.advancing())
        self.model.adapters.use(scheduler.adapters)
        if self._speculator is not None:
            self._speculator.guess(streams)
        shares, chunks = scheduler.plan(batch, streams)
        if self.cache.disk is not None:
            self.cache.disk.write_some(len(scheduler.decoding) + len(scheduler.prefilling))
        if batch.size:
            self._compute(shares, chunks, events)
        elif self.cache.disk is not None:
            self.cache.disk.wait(MOMENT_S)
        if self._sight is not None:
            self._see(self._sight, events, is_idle=not batch.size)
        return events

    def _compute(self, shares: list[Share], chunks: list[Chunk], events: list[Event]) -> None:
        """Decode what is planned, sample from it and commit it."""
        scheduler, batch = self.scheduler, self._batch
        prompt_tokens = sum(len(chunk.tokens) for chunk in chunks)
        is_wide = batch.size - len(shares) >= LEAST_CHUNK
        self.cache.make_room(batch.size)
        begun = time.perf_counter()
        try:
            self.model.decode(batch, with_prompt=is_wide, alone=scheduler.is_lone)
        except NoCells:
            self._give_way(batch.size - len(shares), events)
            return
        scheduler.widen()
        # The next decode overwrites the logits, so every sequence is sampled before this step returns.
        for share in shares:
            self._continue(share, events)
        for chunk in chunks:
            self._commit(chunk, events)
        seconds = time.perf_counter() - begun
        self._pace.observe(prompt_tokens, len(shares), seconds)
        if shares and not chunks:
            self.inquiries.observe(len(shares), seconds)
            if self._speculator is not None:
                self._speculator.observe(len(shares), seconds)

    def _see(self, sight: Sight, events: list[Event], *, is_idle: bool) -> None:
        """Compute some of an image, and wait a moment for one if there is nothing else to do."""
        for sequence, error in sight.find_failed(self.scheduler.prefilling):
            self._tell(sequence, [Failed(error.info)], events)
        share = self.scheduler.plan_image()
        if share is None:
            if is_idle:
                sight.wait_for_one(self.scheduler.prefilling)
            return
        self.cache.make_room(share.length)
        begun = time.perf_counter()
        try:
            sight.compute(share)
        except NoCells:
            self._give_way(share.length if sight.is_causal else 1, events)
            return
        self.scheduler.widen()
        self._commit(share.chunk, events)
        self._pace.observe(share.length, 0, time.perf_counter() - begun)

    @property
    def is_idle(self) -> bool:
        scheduler = self.scheduler
        return not (scheduler.decoding or scheduler.prefilling) and self.inquiries.is_idle

    @property
    def rest_s(self) -> float | None:
        return None if self.cache.disk is None else self.cache.disk.rest_s

    @property
    def kv_usage(self) -> float | None:
        return self.cache.usage

    @property
    def spare_bytes(self) -> int:
        return self.cache.store.size + self.model.adapters.idle_bytes

    @property
    def reserved_bytes(self) -> int:
        return count_untouched()

    def give_back(self, size: int) -> None:
        self.cache.store.give_back(size - self.model.adapters.give_back(size))

    def close(self) -> None:
        for sequence in [*self.scheduler.decoding, *self.scheduler.prefilling]:
            self.scheduler.remove(sequence)
        if self.cache.disk is not None:
            self.cache.disk.close()
        self._tokenizing.drain()
        if self._sight is not None:
            self._sight.close()
        self.inquiries.close()
        if self._speculator is not None:
            self._speculator.close()
        self.model.close()

    def _give_way(self, prompt_tokens: int, events: list[Event]) -> None:
        """Have the next step try again with more room or fewer tokens; else end the newest sequence for the others."""
        if self.cache.drop_idle() or self.scheduler.narrow(prompt_tokens):
            return
        error = Overloaded("The model's cache has no room for this request beside the others; try again later.")
        self._tell(self.scheduler.newest(), [Failed(error.info)], events)

    @property
    def _able(self) -> frozenset[str]:
        able = self.inquiries.capabilities | (self.capabilities if self.model.generates else frozenset())
        return able if self._sight is None else able | {"image"}

    def _make_sampler(self, sequence: Sequence) -> Sampler:
        job, model = sequence.job, self.model
        prompt = [token for token in job.prompt_tokens if token >= 0] if sequence.images else job.prompt_tokens
        return Sampler(
            *(job.sampling, model.vocabulary, model.logits, model.context_size, prompt), guide=sequence.guide
        )

    def _continue(self, share: Share, events: list[Event]) -> None:
        sequence, guesses = share.sequence, share.sequence.draft
        slot = sequence.slot
        tokens = np.array([*share.tokens, *guesses], np.int32)
        # Computed anew as part of a prompt, what the model wrote would have other bits.
        slot.extend(tokens, alone=len(tokens) == 1 and self.scheduler.is_lone and not self._is_deterministic)
        if share.row is None:
            sequence.pending = sequence.pending[len(share.tokens) :]
            return
        known, accepted = slot.length - len(guesses), sequence.accepted
        replies = advance(sequence, share.row, self.model.vocabulary)
        self.cache.truncate(slot, known + sequence.accepted - accepted)
        self._tell(sequence, replies, events)

    def _commit(self, chunk: Chunk, events: list[Event]) -> None:
        sequence = chunk.sequence
        is_last = self.scheduler.commit(chunk)
        if sequence.wants_prompt_logprobs:
            events.append((sequence.job.id, prompt_logprobs(chunk, self.model.vocabulary)))
        if is_last:
            sequence.foresee(self.model.vocabulary)
            self._tell(sequence, advance(sequence, chunk.last, self.model.vocabulary), events)
        else:
            events.append((sequence.job.id, Progress(sequence.slot.length, len(sequence.prompt))))

    def _tell(self, sequence: Sequence, replies: list[Reply], events: list[Event]) -> None:
        events += [(sequence.job.id, reply) for reply in replies]
        if replies and isinstance(replies[-1], Finished | Failed):
            self.scheduler.remove(sequence)
