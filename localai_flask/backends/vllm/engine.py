"""The backend's verbs on vLLM's engine, which batches, decodes and keeps the cache; each `step` is one of its own.

Text, stop strings and limits are the house's, from the tokens that the library makes.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any

from localai_flask.backends import waiting_threads  # noqa: F401  before torch
from localai_flask.backends.base import Event, Inquiry, Job, LoadProgress
from localai_flask.backends.hugging_face.grammar import TokenGrammars
from localai_flask.backends.hugging_face.offline import offline
from localai_flask.backends.hugging_face.token_engine import add_token, has_ended, take_each
from localai_flask.backends.hugging_face.tokens import TextDecoder, Tokens
from localai_flask.backends.output.output import Output
from localai_flask.backends.takes import ALL_INPUTS, Takes
from localai_flask.backends.token_choice.choosing_engine import ChoosingEngine
from localai_flask.backends.token_choice.sampler import TokenSampler
from localai_flask.backends.vllm import environment  # noqa: F401  sets what the library reads when it is imported
from localai_flask.backends.vllm.adapters import Adapters
from localai_flask.backends.vllm.chosen_rows import ROWS, ChosenRow
from localai_flask.backends.vllm.loading import load
from localai_flask.backends.vllm.pooling import fact_of, pooling_params, read_text
from localai_flask.backends.vllm.sampling import (
    CHOSEN_HERE,
    NATIVE,
    REFUSALS,
    forced_params,
    is_chosen_here,
    wanted_params,
)
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError, InvalidRequest
from localai_flask.generation import (
    ALL_CONSTRAINTS,
    Failed,
    ModelInfo,
    PromptLogprobs,
    Reply,
    Started,
    TokenLogprob,
)
from localai_flask.inquiry import Embed, Fact, Score, Tokenize

ELSEWHERE = Takes(NATIVE, frozenset(("json_schema", "regex", "gbnf")), ALL_INPUTS)
"""What a model takes that runs in other processes, whose logits are not seen here."""


@dataclass(eq=False)
class Sequence:
    """One job that the library has; `sampler` chooses its tokens, where the library is not left to."""

    job: Job
    output: Output
    decoder: TextDecoder
    sampler: TokenSampler | None
    key: str
    id: str = ""
    """The library's own name for it."""
    started: bool = False


class VllmBackend(ChoosingEngine):
    """Runs the model of a local folder with vLLM."""

    tokens: Tokens
    takes = Takes(NATIVE | CHOSEN_HERE, ALL_CONSTRAINTS, ALL_INPUTS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        with offline():
            self.loaded = load(config, progress)
        self.engine, self.tokens, self.images = self.loaded.engine, self.loaded.tokens, self.loaded.images
        self.adapters = Adapters(self.engine, config.models_path, self.loaded.adapter)
        self.running: dict[str, Sequence] = {}
        self.asked: dict[str, Inquiry] = {}
        self._keys = count()
        self._writes = "generate" in self.loaded.info.capabilities
        self._unannounced: list[Event] = []
        if not self.loaded.is_here:
            self.takes = ELSEWHERE  # type: ignore[misc]
        self.context_length, self.trained_context = self.loaded.info.context_length, self.loaded.info.trained_context
        self.grammars = TokenGrammars(self.tokens) if self._writes and self.loaded.is_here else None
        progress(1.0)
        return self.loaded.info

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        made = super().compile_ahead(job)
        return self.images.prepare(job, made) if self.images is not None and job.prompt.images else made

    def read_prompt(self, job: Job) -> list[int]:
        return list(job.ahead["prompt_token_ids"]) if job.ahead is not None else super().read_prompt(job)

    def ask_ahead(self, inquiry: Inquiry) -> Future[Any] | None:
        question = inquiry.question
        if self.images is not None and isinstance(question, Tokenize) and question.prompt.images:
            return self.images.count(inquiry, question.prompt)
        return super().ask_ahead(inquiry)

    def ask(self, inquiry: Inquiry) -> Fact | None:
        if isinstance(inquiry.question, Tokenize) and inquiry.prepared is not None:
            return self.tokenized(inquiry.prepared, inquiry.question)
        return super().ask(inquiry)

    @property
    def room(self) -> int:
        return self.loaded.sequences - len(self.running) if self._writes else 0

    def start(self, job: Job) -> bool:
        """Hand a job to the library."""
        key = f"{next(self._keys)}"
        decoder = TextDecoder(self.tokens, job.prompt_tokens, job.sampling.preserved)
        output = Output(job, self.context_length, unfinished=lambda: decoder.flush().encode())
        output.started_at = time.monotonic()
        is_chosen = self.loaded.is_here and is_chosen_here(job.sampling)
        sequence = Sequence(job, output, decoder, self.make_sampler(job) if is_chosen else None, key)
        wanted = (
            wanted_params(job.sampling, output.limit, self.tokens.eos)
            if sequence.sampler is None
            else forced_params(job.sampling, output.limit, self.tokens.eos, key)
        )
        if sequence.sampler is not None:
            ROWS[key] = ChosenRow(sequence.sampler, job.prompt_tokens, lambda: self._is_whole(sequence.id))
        try:
            sequence.id = self._add(key, job.ahead or {"prompt_token_ids": job.prompt_tokens}, wanted, job)
        except (ApiError, *REFUSALS) as error:
            ROWS.pop(key, None)
            refused = error if isinstance(error, ApiError) else _refused(error)
            self._unannounced.append((job.id, Failed(refused.info)))
            return True
        self.running[sequence.key] = sequence
        return True

    def _add(self, key: str, prompt: Any, params: Any, job: Job | None = None) -> str:
        adapter = self.adapters.find(None if job is None else job.sampling.adapters)
        id: str = self.engine.add_request(key, prompt, params, lora_request=adapter)
        return id

    def _is_whole(self, id: str) -> bool:
        """Return whether a request's prompt is computed in this step; a token that comes before is thrown away."""
        request = self.engine.engine_core.engine_core.scheduler.requests.get(id)
        return request is not None and request.num_computed_tokens >= request.num_tokens

    @property
    def inquiry_room(self) -> int:
        return 0 if self._writes else self.loaded.sequences - len(self.asked)

    def start_inquiry(self, inquiry: Inquiry) -> None:
        question, key = inquiry.question, f"{next(self._keys)}"
        assert isinstance(question, Embed | Score), "the others are answered at once"
        try:
            ids = read_text(question, self.tokens, self.context_length)
            self._add(key, {"prompt_token_ids": ids}, pooling_params(question, ids, self.tokens))
        except ApiError as error:
            self._unannounced.append((inquiry.id, Failed(error.info)))
        except REFUSALS as error:
            self._unannounced.append((inquiry.id, Failed(_refused(error).info)))
        else:
            self.asked[key] = inquiry

    def cancel(self, job_id: int) -> None:
        gone = [key for key, sequence in self.running.items() if sequence.job.id == job_id]
        gone += [key for key, inquiry in self.asked.items() if inquiry.id == job_id]
        for key in gone:
            self._drop(key)

    @property
    def is_idle(self) -> bool:
        return not (self.running or self.asked or self._unannounced)

    @property
    def kv_usage(self) -> float | None:
        if not (self._writes and self.loaded.is_here):
            return None
        usage: float = self.engine.engine_core.engine_core.scheduler.kv_cache_manager.usage
        return usage

    def step(self) -> list[Event]:
        """Have the library compute one step, and return what it has made."""
        events, self._unannounced = self._unannounced, []
        if not (self.running or self.asked):
            return events
        for made in self.engine.step():
            # The library puts a suffix of its own behind the key.
            key = made.request_id.partition("-")[0]
            if (inquiry := self.asked.get(key)) is not None and made.finished:
                del self.asked[key]
                question = inquiry.question
                assert isinstance(question, Embed | Score)
                events.append((inquiry.id, fact_of(question, made, len(made.prompt_token_ids))))
            elif (sequence := self.running.get(key)) is not None:
                events += [(sequence.job.id, reply) for reply in self._advance(sequence, made)]
        return events

    def close(self) -> None:
        if hasattr(self, "engine"):
            if self.images is not None:
                self.images.close()
            self.engine.engine_core.shutdown()

    def _advance(self, sequence: Sequence, made: Any) -> list[Reply]:
        """Take the tokens of a step."""
        (completion,) = made.outputs
        logprobs = completion.logprobs or [None] * len(completion.token_ids)
        new = zip(completion.token_ids, logprobs, strict=True)
        replies = [*self._begun(sequence, made), *take_each(new, lambda each: self._take(sequence, *each))]
        if has_ended(replies):
            self._drop(sequence.key, is_over=made.finished)
        return replies

    def _begun(self, sequence: Sequence, made: Any) -> list[Reply]:
        """Report that the prompt is computed, once."""
        if sequence.started:
            return []
        job, sequence.started = sequence.job, True
        job.num_cached = made.num_cached_tokens or 0
        replies: list[Reply] = [Started(len(job.prompt_tokens), job.num_cached)]
        if job.sampling.prompt_logprobs:
            found = zip(job.prompt_tokens, made.prompt_logprobs or (), strict=True)
            replies.append(
                PromptLogprobs(
                    [self._read_logprob(token, each, job.sampling.top_logprobs or 0) for token, each in found]
                )
            )
        return replies

    def _take(self, sequence: Sequence, token: int, found: Any) -> list[Reply]:
        sampler = sequence.sampler
        if sampler is not None and sampler.params.logprob_token_ids:
            return self.add_chosen(sequence.output, sampler, token, sequence.decoder.read)
        if sampler is not None:
            sampler.check()
        most = sequence.job.sampling.top_logprobs
        logprob = None if most is None or found is None else self._read_logprob(token, found, most)
        is_end = token in self.tokens.eos
        return add_token(sequence.output, token, sequence.decoder.read, lambda: logprob, is_end=is_end)

    def _read_logprob(self, token: int, found: Any, most: int) -> TokenLogprob:
        """Turn the library's log-probabilities of one place into ours; of the very first token there are none."""
        piece = self.tokens.spelled
        if found is None:
            return TokenLogprob(token, piece(token), 0.0)
        best = sorted(found.items(), key=lambda entry: entry[1].rank or 0)[:most]
        return TokenLogprob(
            token, piece(token), found[token].logprob, [(other, piece(other), each.logprob) for other, each in best]
        )

    def _drop(self, key: str, is_over: bool = False) -> None:
        ROWS.pop(key, None)
        sequence = self.running.pop(key, None)
        self.asked.pop(key, None)
        if not is_over:
            self.engine.abort_request([sequence.id if sequence is not None else key], internal=sequence is not None)


def _refused(error: Exception) -> InvalidRequest:
    said = str(error).rstrip(".")
    return InvalidRequest(f"vLLM refuses this request: {said}.")
