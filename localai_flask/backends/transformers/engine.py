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
from localai_flask.backends.base import Backend, Event, Inquiry, Job, LoadProgress
from localai_flask.backends.embedding import Embedder
from localai_flask.backends.grammars.guide import Guide
from localai_flask.backends.hugging_face.grammar import TokenGrammars
from localai_flask.backends.hugging_face.offline import offline
from localai_flask.backends.hugging_face.thinking import LimitedThinking
from localai_flask.backends.hugging_face.tokens import TextDecoder
from localai_flask.backends.output import Output
from localai_flask.backends.output_rules import OutputRules, check_ids
from localai_flask.backends.takes import Takes
from localai_flask.backends.token_choice.sampler import TAKEN, TokenSampler
from localai_flask.backends.transformers.generation.runner import Made
from localai_flask.backends.transformers.generation.runner_choice import open_runner
from localai_flask.backends.transformers.loading.model import describe, load_model
from localai_flask.backends.transformers.vectors.encoding import load_embedder
from localai_flask.backends.transformers.vectors.ranking import load_ranker
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import makes_vectors, ranks_documents
from localai_flask.errors import ApiError, ContextOverflow, WorkerDied
from localai_flask.generation import (
    ALL_CONSTRAINTS,
    Failed,
    Finished,
    ModelInfo,
    Progress,
    Prompt,
    Reply,
    Started,
    TokenLogprob,
)
from localai_flask.inquiry import Detokenize, Detokenized, Fact, Tokenize, Tokenized
from localai_flask.sampling_params import SamplingParams

WAIT_S = 0.02
"""The longest that a step waits for the library where nobody is notified."""


@dataclass(eq=False)
class Sequence:
    """One job that the library has."""

    job: Job
    output: Output
    sampler: TokenSampler
    decoder: TextDecoder
    started: bool = False
    reported: int = 0


class TransformersBackend(Backend):
    """Runs the causal language model of a local folder, several requests at once."""

    takes = Takes(TAKEN, ALL_CONSTRAINTS)

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
        self.runner, self.cache = open_runner(config, loaded.model, self.notify)
        self._reads_whole = loaded.model.config.is_encoder_decoder
        info = describe(loaded.model, loaded.tokens.tokenizer, self.cache)
        self._trained = info.trained_context
        progress(1.0)
        return info

    def prepare(self, job: Job) -> None:
        check_ids(job.sampling, self.tokens.size)
        job.prepared = self.grammars.guide(job.sampling)
        job.prompt_tokens = (self.tokens.encode_whole if self._reads_whole else self.tokens.encode)(job.prompt)
        if len(job.prompt_tokens) >= self.cache.context_length:
            raise ContextOverflow(len(job.prompt_tokens), self.cache.context_length, trained=self._trained)

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        return self.grammars.compile(job.sampling)

    @property
    def room(self) -> int:
        if self.broken or self.embedder is not None:  # whoever waits may still run in the next worker
            return 0
        return self.cache.sequences - len(self.running)

    def start(self, job: Job) -> bool:
        """Hand a job to the library."""
        key, guide = f"request {next(self._keys)}", job.prepared
        assert guide is None or isinstance(guide, Guide)
        decoder = TextDecoder(self.tokens, [] if self._reads_whole else job.prompt_tokens, job.sampling.preserved)
        sampler = TokenSampler(
            job.sampling,
            banned=self.tokens.eos if job.sampling.ignore_eos else (),
            guide=guide,
            thinking=self._thinking(job.sampling),
            rules=OutputRules.of(job.sampling, job.prompt_tokens, self.tokens.eos, self.tokens.piece),
        )
        output = Output(job, self.cache.context_length, unfinished=lambda: decoder.flush().encode())
        self.running[key] = Sequence(job, output, sampler, decoder)
        self.runner.add(key, job.prompt_tokens, sampler, output.limit, self.tokens.eos)
        return True

    def ask(self, inquiry: Inquiry) -> Fact | None:
        question = inquiry.question
        if isinstance(question, Tokenize):
            ids = self.tokens.tokenize(question.prompt)
            return Tokenized(ids, [self.tokens.spelled(token) for token in ids] if question.pieces else [])
        if isinstance(question, Detokenize):
            if not question.tokens:
                return Detokenized("")
            return Detokenized(self.tokens.decode(self.tokens.encode(Prompt(tokens=question.tokens))))
        return None

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
        events: list[Event] = []
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

    def close(self) -> None:
        if hasattr(self, "runner"):  # neither after a failed load, nor for a model that makes vectors
            self.runner.stop()

    def _thinking(self, params: SamplingParams) -> LimitedThinking | None:
        return LimitedThinking(params.thinking, self.tokens, params.preserved) if params.thinking is not None else None

    def _advance(self, sequence: Sequence, made: Made) -> list[Reply]:
        """Take the tokens that are new."""
        replies = list(_news(sequence))
        try:
            for token in made.tokens[len(sequence.job.output_tokens) :]:
                replies += self._take(sequence, token)
                if isinstance(replies[-1] if replies else None, Finished):
                    break
        except ApiError as error:
            replies.append(Failed(error.info))
        if replies and isinstance(replies[-1], Finished | Failed):
            self._drop(made.key)
        return replies

    def _take(self, sequence: Sequence, token: int) -> list[Reply]:
        """Add one token to a sequence; return the replies that it makes."""
        output, sampler = sequence.output, sequence.sampler
        if sampler.failure is not None:
            raise sampler.failure
        if sampler.broken:
            raise ApiError("The model computed numbers that are not finite; use `dtype: float32` or check its weights.")
        is_end = token in self.tokens.eos
        piece = b"" if is_end else sequence.decoder.feed(token).encode()
        text, reason = output.take(token, piece, is_end=is_end)
        logprobs = [] if is_end else self._logprobs(sequence)
        replies: list[Reply] = [output.delta(text, logprobs)] if text or logprobs else []
        if reason is not None:
            output.started_at = sampler.begun or 0.0
            replies.append(output.finished(reason))
        return replies

    def _logprobs(self, sequence: Sequence) -> list[TokenLogprob]:
        """Look up the log-probabilities of the token just taken, if they were asked for."""
        if sequence.job.sampling.top_logprobs is None:
            return []
        token, logprob, best = sequence.sampler.logprobs[len(sequence.job.output_tokens) - 1]
        piece = self.tokens.piece
        return [TokenLogprob(token, piece(token), logprob, [(other, piece(other), value) for other, value in best])]

    def _drop(self, key: str) -> None:
        del self.running[key]
        self.runner.drop(key)

    def _fail_all(self) -> list[Event]:
        """End every job because the library's thread is gone; the next step raises, so that the worker is replaced."""
        error = WorkerDied(f"The engine of model {self.name} stopped: {self.broken}; it is being started again.")
        jobs = [sequence.job for sequence in self.running.values()]
        self.running.clear()
        return [(job.id, Failed(error.info)) for job in jobs]


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
