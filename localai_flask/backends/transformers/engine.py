"""The backend's verbs on the library's continuous batching, and on turns for models that it cannot batch.

The library runs its own thread, which batches, decodes and samples; `step` collects what that thread has made, turns
ids into text and ends sequences. The library gets no more requests than it runs at once, so that none waits in it.
Sequences that take turns are computed in `step` itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any

from localai_flask.backends import waiting_threads  # noqa: F401  before torch
from localai_flask.backends.base import Event, Inquiry, Job, LoadProgress
from localai_flask.backends.embedding import Embedder
from localai_flask.backends.hugging_face.grammar import TokenGrammars
from localai_flask.backends.hugging_face.offline import offline
from localai_flask.backends.hugging_face.token_engine import has_ended, take_each
from localai_flask.backends.hugging_face.tokens import TextDecoder, Tokens
from localai_flask.backends.output.output import Output
from localai_flask.backends.takes import ALL_INPUTS, Takes
from localai_flask.backends.token_choice.choosing_engine import ChoosingEngine
from localai_flask.backends.token_choice.sampler import TAKEN, TokenSampler
from localai_flask.backends.transformers.generation.runner import Made
from localai_flask.backends.transformers.generation.runner_choice import open_runner
from localai_flask.backends.transformers.images.seen import SeenPrompt
from localai_flask.backends.transformers.images.threads import ImageThreads, await_one
from localai_flask.backends.transformers.loading.failures import first_line
from localai_flask.backends.transformers.loading.model import describe, load_model
from localai_flask.backends.transformers.vectors.encoding import load_embedder
from localai_flask.backends.transformers.vectors.ranking import load_ranker
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import makes_vectors, ranks_documents
from localai_flask.errors import ApiError, UnsupportedParameter, WorkerDied
from localai_flask.generation import (
    ALL_CONSTRAINTS,
    Failed,
    ModelInfo,
    Progress,
    Prompt,
    Reply,
    Started,
)
from localai_flask.inquiry import Fact, Tokenize

WAIT_S = 0.02
"""The longest that a step waits for the library where nobody is notified."""


@dataclass(eq=False)
class Sequence:
    """One job that the library has."""

    job: Job
    output: Output
    sampler: TokenSampler
    decoder: TextDecoder
    encoding: Future[None] | None = None
    """There while its images are encoded, before the library gets it."""
    started: bool = False
    reported: int = 0


class TransformersBackend(ChoosingEngine):
    """Runs the causal language model of a local folder, several requests at once."""

    tokens: Tokens
    images: ImageThreads | None = None
    """There if the model sees."""
    takes = Takes(TAKEN, ALL_CONSTRAINTS, ALL_INPUTS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        with offline():
            return self._load(config, progress)

    def _load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        self.name = config.name
        self.running: dict[str, Sequence] = {}
        self.broken = ""
        """Why the library's thread ended, once all jobs have been told."""
        self.embedder: Embedder | None = None
        """There if the model makes vectors or scores documents; then it generates nothing."""
        if ranks_documents(config):
            self.embedder, self.tokens, info = load_ranker(config, progress)
            return info
        if makes_vectors(config):
            self.embedder, self.tokens, info = load_embedder(config, progress)
            return info
        loaded = load_model(config, progress)
        self.tokens = loaded.tokens
        self.grammars = TokenGrammars(loaded.tokens)
        self._keys = count()
        self.images = ImageThreads(loaded.reader) if loaded.reader is not None else None
        self.runner, self.cache = open_runner(config, loaded.model, self.notify, loaded.reader)
        self._reads_whole = loaded.model.config.is_encoder_decoder
        info = describe(loaded, self.cache)
        self.context_length, self.trained_context = self.cache.context_length, info.trained_context
        progress(1.0)
        return info

    def encode(self, prompt: Prompt) -> list[int]:
        return (self.tokens.encode_whole if self._reads_whole else self.tokens.encode)(prompt)

    def read_prompt(self, job: Job) -> list[int]:
        if job.ahead is not None and self.images is not None:
            job.ahead = self.images.reader.read(job.prompt, job.ahead)
            return list(job.ahead.ids)
        if job.prompt.images:
            raise UnsupportedParameter(f"The model {self.name!r} reads text only; leave images out.", param="messages")
        return super().read_prompt(job)

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        made = super().compile_ahead(job)
        return self.images.open(job, made) if self.images is not None and job.prompt.images else made

    def ask_ahead(self, inquiry: Inquiry) -> Future[Any] | None:
        question = inquiry.question
        if self.images is not None and isinstance(question, Tokenize) and question.prompt.images:
            return self.images.open_for(inquiry, question.prompt)
        return super().ask_ahead(inquiry)

    def ask(self, inquiry: Inquiry) -> Fact | None:
        question = inquiry.question
        if self.images is not None and isinstance(question, Tokenize) and inquiry.prepared is not None:
            return self.tokenized(self.images.reader.read(question.prompt, inquiry.prepared).ids, question)
        return super().ask(inquiry)

    @property
    def room(self) -> int:
        if self.broken or self.embedder is not None:  # whoever waits may still run in the next worker
            return 0
        return self.cache.sequences - len(self.running)

    def start(self, job: Job) -> bool:
        """Hand a job to the library, once its images are encoded."""
        key, sampler = f"request {next(self._keys)}", self.make_sampler(job)
        decoder = TextDecoder(self.tokens, [] if self._reads_whole else job.prompt_tokens, job.sampling.preserved)
        output = Output(job, self.context_length, unfinished=lambda: decoder.flush().encode())
        self.running[key] = sequence = Sequence(job, output, sampler, decoder)
        if job.ahead is None:
            self._add(key, sequence)
        else:
            assert self.images is not None
            sequence.encoding = self.images.encode(job, self.notify)
        return True

    def _add(self, key: str, sequence: Sequence) -> None:
        job, limit = sequence.job, sequence.output.limit
        self.runner.add(key, job.ahead or SeenPrompt(job.prompt_tokens), sequence.sampler, limit, self.tokens.eos)

    def _take_encoded(self) -> list[Event]:
        """Hand to the library what is encoded; wait a moment if there is nothing else to do."""
        encodings = {key: each.encoding for key, each in self.running.items() if each.encoding is not None}
        if len(encodings) == len(self.running) and not self.runs_by_itself:
            await_one(encodings.values(), WAIT_S)
        events: list[Event] = []
        for key, encoding in encodings.items():
            if not encoding.done():
                continue
            sequence = self.running[key]
            sequence.encoding = None
            if (error := encoding.exception()) is None:
                self._add(key, sequence)
            else:
                del self.running[key]
                events.append((sequence.job.id, Failed(_unreadable(error).info)))
        return events

    @property
    def inquiry_room(self) -> int:
        return 0 if self.embedder is None else self.embedder.room

    def start_inquiry(self, inquiry: Inquiry) -> None:
        assert self.embedder is not None, "capabilities come first"
        self.embedder.add(inquiry)

    def cancel(self, job_id: int) -> None:
        if self.embedder is not None:
            self.embedder.cancel(job_id)
        for key in [key for key, sequence in self.running.items() if sequence.job.id == job_id]:
            self._drop(key)

    @property
    def is_idle(self) -> bool:
        embedding = self.embedder is not None and not self.embedder.is_idle
        return not self.running and not self.broken and not embedding

    @property
    def runs_by_itself(self) -> bool:
        return self.embedder is None and not self.broken and self.runner.runs_by_itself

    def step(self) -> list[Event]:
        """Collect what the library has made; raise `RuntimeError` once its thread is gone and every job was told."""
        if self.broken:
            raise RuntimeError(f"the engine of model {self.name} stopped: {self.broken}")
        if self.embedder is not None:
            return self.embedder.step(0)
        events = self._take_encoded() if self.images is not None else []
        wait_s = WAIT_S if self.running and self.notify is None else 0
        made, alive = self.runner.collect(wait_s)
        errors = [each.error for each in made if each.error is not None]
        for each in made:
            sequence = self.running.get(each.key)
            if sequence is not None and each.error is None:
                events += [(sequence.job.id, reply) for reply in self._advance(sequence, each)]
        for sequence in self.running.values():
            events += [(sequence.job.id, reply) for reply in _news(sequence)]
        if errors or not alive:  # the library fails requests only when its thread ends, which may be a moment later
            self.broken = next(filter(None, errors), self.runner.error)
            events += self._fail_all()
        return events

    @property
    def spare_bytes(self) -> int:
        return 0 if self.images is None else self.images.reader.kept_bytes

    def give_back(self, size: int) -> None:
        if self.images is not None:
            self.images.reader.forget_oldest(max(self.spare_bytes - size, 0))

    def close(self) -> None:
        if hasattr(self, "runner"):  # neither after a failed load, nor for a model that makes vectors
            self.runner.stop()
            if self.images is not None:
                self.images.close()

    def _advance(self, sequence: Sequence, made: Made) -> list[Reply]:
        """Take the tokens that are new."""
        new = made.tokens[len(sequence.job.output_tokens) :]
        sequence.output.started_at = sequence.sampler.begun or 0.0
        replies = [*_news(sequence), *take_each(new, lambda token: self._take(sequence, token))]
        if has_ended(replies):
            self._drop(made.key)
        return replies

    def _take(self, sequence: Sequence, token: int) -> list[Reply]:
        return self.add_chosen(sequence.output, sequence.sampler, token, sequence.decoder.read)

    def _drop(self, key: str) -> None:
        sequence = self.running.pop(key)
        if sequence.encoding is None:
            self.runner.drop(key)
        else:
            sequence.encoding.cancel()

    def _fail_all(self) -> list[Event]:
        """End every job because the library's thread is gone; the next step raises, so that the worker is replaced."""
        error = WorkerDied(f"The engine of model {self.name} stopped: {self.broken}; it is being started again.")
        jobs = [sequence.job for sequence in self.running.values()]
        self.running.clear()
        return [(job.id, Failed(error.info)) for job in jobs]


def _unreadable(error: BaseException) -> ApiError:
    return ApiError(f"The model cannot read an image: {first_line(error)}.")


def _news(sequence: Sequence) -> Iterator[Reply]:
    """Report that the library has begun a sequence, and how much of its prompt is done."""
    sampler, job = sequence.sampler, sequence.job
    if sampler.begun is None:
        return
    if not sequence.started:
        sequence.started, sequence.reported = True, sampler.num_cached
        job.num_cached = sampler.num_cached
        yield Started(len(job.prompt_tokens), job.num_cached)
    done = sampler.processed
    if sequence.reported < done < len(job.prompt_tokens):
        sequence.reported = done
        yield Progress(done, len(job.prompt_tokens))
