"""The backend's verbs on the rwkv package's network: sequences take turns, each with a state of its own."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from typing import Any

from localai_flask.backends.base import Backend, Event, Inquiry, Job, LoadProgress
from localai_flask.backends.grammars.guide import Guide
from localai_flask.backends.hugging_face.grammar import TokenGrammars
from localai_flask.backends.hugging_face.thinking import LimitedThinking
from localai_flask.backends.notes import whole_option
from localai_flask.backends.output import Output
from localai_flask.backends.output_rules import OutputRules, check_ids
from localai_flask.backends.rwkv.chat_template import OPENING, TURN
from localai_flask.backends.rwkv.loading import load_model
from localai_flask.backends.rwkv.state_cache import StateCache
from localai_flask.backends.rwkv.turns import PIECE, Reader, Sequence, Turns
from localai_flask.backends.takes import Takes
from localai_flask.backends.text import TextStream
from localai_flask.backends.token_choice.row_choice import Row, choose_tokens
from localai_flask.backends.token_choice.sampler import TAKEN, TokenSampler
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError, ContextOverflow
from localai_flask.generation import (
    ALL_CONSTRAINTS,
    Failed,
    Finished,
    FinishReason,
    ModelInfo,
    Progress,
    Prompt,
    Reply,
    Started,
    TokenLogprob,
)
from localai_flask.inquiry import Detokenize, Detokenized, Fact, Tokenize, Tokenized

SEQUENCES = 16
CACHE_MIB = 512
"""What states are kept in; one of the model with 2.9 billion parameters takes 21 MiB."""
STEP_S = 0.03
"""How long a step takes turns before it returns with what was made."""


class RwkvBackend(Backend):
    """Runs a checkpoint of RWKV."""

    takes = Takes(TAKEN | {"cache_prompt"}, ALL_CONSTRAINTS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        loaded = load_model(config, progress)
        self.tokens, self._context = loaded.tokens, loaded.info.context_length
        self._sequences = whole_option(config, SEQUENCES, "parallel", "n_parallel")
        self._grammars = TokenGrammars(loaded.tokens)
        self._nothing = loaded.tokens.without_meaning
        self.cache = StateCache(whole_option(config, CACHE_MIB, "cache_ram") << 20)
        self._reader, self._turns = Reader(loaded.network, self.cache, config.batch or PIECE), Turns()
        self._running: dict[int, Sequence] = {}
        return loaded.info

    def prepare(self, job: Job) -> None:
        check_ids(job.sampling, self.tokens.size)
        job.prepared = self._grammars.guide(job.sampling)
        job.prompt_tokens = self.tokens.encode(job.prompt)
        if len(job.prompt_tokens) >= self._context:
            raise ContextOverflow(len(job.prompt_tokens), self._context)

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        return self._grammars.compile(job.sampling)

    @property
    def room(self) -> int:
        return self._sequences - len(self._running)

    def start(self, job: Job) -> bool:
        guide, params = job.prepared, job.sampling
        assert guide is None or isinstance(guide, Guide)
        thinking = LimitedThinking(params.thinking, self.tokens, params.preserved) if params.thinking else None
        sampler = TokenSampler(
            params,
            banned=self.tokens.eos if params.ignore_eos else (),
            guide=guide,
            thinking=thinking,
            rules=OutputRules.of(params, job.prompt_tokens, self.tokens.eos, self.tokens.piece),
        )
        sequence = Sequence(_output(job, self._context), sampler, job.prompt_tokens, is_shared=params.cache_prompt)
        self._reader.recall(sequence)
        self._running[job.id] = sequence
        self._turns.add(sequence)
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
        if (sequence := self._running.pop(job_id, None)) is not None:
            self._turns.drop(sequence)

    @property
    def is_idle(self) -> bool:
        return not self._running

    def step(self) -> list[Event]:
        events: list[Event] = []
        end = time.monotonic() + STEP_S
        while (sequence := self._turns.take()) is not None:
            events += [(sequence.output.job.id, reply) for reply in self._advance(sequence)]
            if time.monotonic() >= end:
                break
        return events

    def _advance(self, sequence: Sequence) -> list[Reply]:
        """Read the next piece of a sequence's prompt, or choose its next token."""
        job = sequence.output.job
        replies: list[Reply] = []
        if not sequence.started:
            sequence.started, job.num_cached = True, sequence.text.length
            sequence.output.started_at = time.monotonic()
            replies.append(Started(len(job.prompt_tokens), job.num_cached))
        self._reader.read(sequence)
        if sequence.left:
            return [*replies, Progress(sequence.text.length, len(job.prompt_tokens))]
        if sequence in self._turns.reading:
            self._turns.begin_writing(sequence)
        try:
            replies += self._write(sequence)
        except ApiError as error:
            replies.append(Failed(error.info))
        if replies and isinstance(replies[-1], Finished | Failed):
            self._reader.keep(sequence)
            self.cancel(job.id)
        return replies

    def _write(self, sequence: Sequence) -> list[Reply]:
        """Choose the next token; return the replies that it makes."""
        output, sampler = sequence.output, sequence.sampler
        logits = sequence.text.logits.detach().float().clone().unsqueeze(0)  # which are kept for others too
        logits[0, self._nothing] = -math.inf
        (token,) = choose_tokens([Row(sampler, sequence.history)], logits)
        if sampler.failure is not None:
            raise sampler.failure
        if sampler.broken:
            raise ApiError("The model computed numbers that are not finite; use `dtype: float32` or check its weights.")
        sequence.made.append(token)
        sequence.waiting = token
        is_end = token in self.tokens.eos
        text, reason = output.take(token, self.tokens.piece(token), is_end=is_end)
        logprobs = [] if is_end else self._logprobs(sequence)
        replies: list[Reply] = [output.delta(text, logprobs)] if text or logprobs else []
        if reason is FinishReason.STOP_SEQUENCE and output.text.matched not in output.job.sampling.stop:
            reason, output.text.matched = FinishReason.EOS, None
        return [*replies, output.finished(reason)] if reason is not None else replies

    def _logprobs(self, sequence: Sequence) -> list[TokenLogprob]:
        """Look up the log-probabilities of the token just taken, if they were asked for."""
        if sequence.sampler.params.top_logprobs is None:
            return []
        token, logprob, best = sequence.sampler.logprobs[-1]
        piece = self.tokens.piece
        return [TokenLogprob(token, piece(token), logprob, [(other, piece(other), value) for other, value in best])]


def _output(job: Job, context: int) -> Output:
    """Make a job's answer; one to a conversation ends before the other's turn, which models go on with."""
    output, params = Output(job, context), job.sampling
    is_turn = job.prompt.tokens is None and job.prompt.text.rpartition("\n\n")[2].startswith(OPENING)
    if is_turn and not params.include_stop_str_in_output:
        output.text = TextStream((*params.stop, TURN))
    return output
