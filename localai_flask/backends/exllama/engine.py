"""The backend's verbs on either library's generator; tokens are chosen by what all engines share.

The generator batches, caches prompts by pages, and reads long ones in pieces.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from localai_flask.backends.base import Backend, Event, Inquiry, Job, LoadProgress
from localai_flask.backends.exllama.chooser import Chooser
from localai_flask.backends.exllama.loading import load_model
from localai_flask.backends.exllama.runner import Update
from localai_flask.backends.grammars.guide import Guide
from localai_flask.backends.hugging_face.grammar import TokenGrammars
from localai_flask.backends.hugging_face.thinking import LimitedThinking
from localai_flask.backends.hugging_face.tokens import TextDecoder
from localai_flask.backends.output import Output
from localai_flask.backends.output_rules import OutputRules, check_ids
from localai_flask.backends.takes import Takes
from localai_flask.backends.token_choice.sampler import TAKEN, TokenSampler
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError, ContextOverflow
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


@dataclass(eq=False)
class Sequence:
    """One job that the library has."""

    job: Job
    output: Output
    chooser: Chooser
    decoder: TextDecoder
    is_started: bool = False


class ExllamaBackend(Backend):
    """Runs a folder by exllamav2 or exllamav3, as the config's backend says."""

    takes = Takes(TAKEN, ALL_CONSTRAINTS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        loaded = load_model(config, progress)
        self._runner, self.tokens, self._context = loaded.runner, loaded.tokens, loaded.context
        self._trained = loaded.info.trained_context
        self._grammars = TokenGrammars(loaded.tokens)
        self._running: dict[int, Sequence] = {}
        return loaded.info

    def prepare(self, job: Job) -> None:
        check_ids(job.sampling, self.tokens.size)
        job.prepared = self._grammars.guide(job.sampling)
        job.prompt_tokens = self.tokens.encode(job.prompt)
        if len(job.prompt_tokens) >= self._context:
            raise ContextOverflow(len(job.prompt_tokens), self._context, trained=self._trained)

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        return self._grammars.compile(job.sampling)

    @property
    def room(self) -> int:
        return self._runner.parallel - len(self._running)

    def start(self, job: Job) -> bool:
        guide, params = job.prepared, job.sampling
        assert guide is None or isinstance(guide, Guide)
        sampler = TokenSampler(
            params,
            banned=self.tokens.eos if params.ignore_eos else (),
            guide=guide,
            thinking=LimitedThinking(params.thinking, self.tokens, params.preserved) if params.thinking else None,
            rules=OutputRules.of(params, job.prompt_tokens, self.tokens.eos, self.tokens.piece),
        )
        decoder = TextDecoder(self.tokens, job.prompt_tokens, params.preserved)
        output = Output(job, self._context, unfinished=lambda: decoder.flush().encode())
        chooser = Chooser(sampler, job.prompt_tokens, self.tokens.size)
        self._running[job.id] = Sequence(job, output, chooser, decoder)
        self._runner.add(job.id, job.prompt_tokens, chooser, output.limit, sorted(self.tokens.eos))
        return True

    def ask(self, inquiry: Inquiry) -> Fact | None:
        question = inquiry.question
        if isinstance(question, Tokenize):
            ids = self.tokens.tokenize(question.prompt)
            return Tokenized(ids, [self.tokens.spelled(token) for token in ids] if question.pieces else [])
        if isinstance(question, Detokenize):
            ids = self.tokens.encode(Prompt(tokens=question.tokens)) if question.tokens else []
            return Detokenized(self.tokens.decode(ids))
        return None

    def cancel(self, job_id: int) -> None:
        if self._running.pop(job_id, None) is not None:
            self._runner.drop(job_id)

    @property
    def is_idle(self) -> bool:
        return not self._running

    def step(self) -> list[Event]:
        events: list[Event] = []
        for update in self._runner.step() if self._running else ():
            events += [(update.key, reply) for reply in self._note(update)]
        for job_id, sequence in [*self._running.items()]:
            events += [(job_id, reply) for reply in self._advance(sequence)]
        return events

    def close(self) -> None:
        if hasattr(self, "_runner"):  # not after a failed load
            self._runner.close()

    def _note(self, update: Update) -> list[Reply]:
        """Take what the library says of a sequence."""
        sequence = self._running.get(update.key)
        if sequence is None:
            return []
        if update.error:
            self.cancel(update.key)
            return [Failed(ApiError(f"The engine gave up on the request: {update.error}").info)]
        replies = self._begin(sequence) if update.is_started or update.read else []
        total = len(sequence.job.prompt_tokens)
        return [*replies, Progress(update.read, total)] if 0 < update.read < total else replies

    def _begin(self, sequence: Sequence) -> list[Reply]:
        """Report once that the library has begun a prompt."""
        if sequence.is_started:
            return []
        job = sequence.job
        sequence.is_started, job.num_cached = True, self._runner.cached(job.id)
        sequence.output.started_at = time.monotonic()
        return [Started(len(job.prompt_tokens), job.num_cached)]

    def _advance(self, sequence: Sequence) -> list[Reply]:
        """Take the tokens that were chosen since the last step."""
        job = sequence.job
        new = sequence.chooser.made[len(job.output_tokens) :]
        replies = self._begin(sequence) if new else []
        try:
            for token in new:
                replies += self._take(sequence, token)
                if replies and isinstance(replies[-1], Finished):
                    break
        except ApiError as error:
            replies.append(Failed(error.info))
        if replies and isinstance(replies[-1], Finished | Failed):
            self.cancel(job.id)
        return replies

    def _take(self, sequence: Sequence, token: int) -> list[Reply]:
        """Add one token to a sequence; return the replies that it makes."""
        output, sampler = sequence.output, sequence.chooser.sampler
        if sampler.failure is not None:
            raise sampler.failure
        if sampler.broken:
            raise ApiError("The model computed numbers that are not finite; check its weights.")
        is_end = token in self.tokens.eos
        piece = b"" if is_end else sequence.decoder.feed(token).encode()
        text, reason = output.take(token, piece, is_end=is_end)
        logprobs = [] if is_end else self._logprobs(sequence)
        replies: list[Reply] = [output.delta(text, logprobs)] if text or logprobs else []
        return [*replies, output.finished(reason)] if reason is not None else replies

    def _logprobs(self, sequence: Sequence) -> list[TokenLogprob]:
        """Look up the log-probabilities of the token just taken, if they were asked for."""
        if sequence.job.sampling.top_logprobs is None:
            return []
        token, logprob, best = sequence.chooser.sampler.logprobs[len(sequence.job.output_tokens) - 1]
        piece = self.tokens.piece
        return [TokenLogprob(token, piece(token), logprob, [(other, piece(other), value) for other, value in best])]
