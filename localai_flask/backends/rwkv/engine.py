"""The backend's verbs on the rwkv package's network: sequences take turns, each with a state of its own."""

from __future__ import annotations

import math
import time

from localai_flask.backends.base import Event, Job, LoadProgress
from localai_flask.backends.hugging_face.grammar import TokenGrammars
from localai_flask.backends.hugging_face.token_engine import has_ended, take_each
from localai_flask.backends.notes import whole_option
from localai_flask.backends.output.output import Output
from localai_flask.backends.output.text import TextStream
from localai_flask.backends.rwkv.chat_template import OPENING, TURN
from localai_flask.backends.rwkv.loading import load_model
from localai_flask.backends.rwkv.state_cache import StateCache
from localai_flask.backends.rwkv.turns import PIECE, Reader, Sequence, Turns
from localai_flask.backends.rwkv.vocabulary import Tokens
from localai_flask.backends.takes import Takes
from localai_flask.backends.token_choice.choosing_engine import ChoosingEngine
from localai_flask.backends.token_choice.row_choice import Row, choose_tokens
from localai_flask.backends.token_choice.sampler import TAKEN
from localai_flask.config.model import EngineConfig
from localai_flask.generation import (
    ALL_CONSTRAINTS,
    Finished,
    FinishReason,
    ModelInfo,
    Progress,
    Reply,
    Started,
)

SEQUENCES = 16
CACHE_MIB = 512
"""What states are kept in; one of the model with 2.9 billion parameters takes 21 MiB."""
STEP_S = 0.03
"""How long a step takes turns before it returns with what was made."""


class RwkvBackend(ChoosingEngine):
    """Runs a checkpoint of RWKV."""

    tokens: Tokens
    takes = Takes(TAKEN | {"cache_prompt"}, ALL_CONSTRAINTS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        loaded = load_model(config, progress)
        self.tokens, self.context_length = loaded.tokens, loaded.info.context_length
        self._sequences = whole_option(config, SEQUENCES, "parallel", "n_parallel")
        self.grammars = TokenGrammars(loaded.tokens)
        self._nothing = loaded.tokens.without_meaning
        self.cache = StateCache(whole_option(config, CACHE_MIB, "cache_ram") << 20)
        self._reader, self._turns = Reader(loaded.network, self.cache, config.batch or PIECE), Turns()
        self._running: dict[int, Sequence] = {}
        return loaded.info

    @property
    def room(self) -> int:
        return self._sequences - len(self._running)

    def start(self, job: Job) -> bool:
        is_shared = job.sampling.cache_prompt
        sequence = Sequence(
            _output(job, self.context_length), self.make_sampler(job), job.prompt_tokens, is_shared=is_shared
        )
        self._reader.recall(sequence)
        self._running[job.id] = sequence
        self._turns.add(sequence)
        return True

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
        replies += take_each([sequence], self._write)
        if has_ended(replies):
            self._reader.keep(sequence)
            self.cancel(job.id)
        return replies

    def _write(self, sequence: Sequence) -> list[Reply]:
        """Choose the next token; return the replies that it makes."""
        output, sampler = sequence.output, sequence.sampler
        logits = sequence.text.logits.detach().float().clone().unsqueeze(0)  # which are kept for others too
        logits[0, self._nothing] = -math.inf
        (token,) = choose_tokens([Row(sampler, sequence.history)], logits)
        replies = self.add_chosen(output, sampler, token, self.tokens.piece)
        sequence.made.append(token)
        sequence.waiting = token
        last = replies[-1] if replies else None
        if isinstance(last, Finished) and output.text.matched not in (None, *output.job.sampling.stop):
            output.text.matched = None  # the other's turn, with which no client has asked for an end
            replies[-1] = output.finished(FinishReason.EOS)
        return replies


def _output(job: Job, context: int) -> Output:
    """Make a job's answer; one to a conversation ends before the other's turn, which models go on with."""
    output, params = Output(job, context), job.sampling
    is_turn = job.prompt.tokens is None and job.prompt.text.rpartition("\n\n")[2].startswith(OPENING)
    if is_turn and not params.include_stop_str_in_output:
        output.text = TextStream((*params.stop, TURN))
    return output
