"""The backend's verbs on openvino-genai's continuous batching pipeline.

The pipeline has no thread of its own: a step of it computes one token of all running requests, and a piece of the
prompts that have come. What it computes is read from a handle for each request.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import openvino
from openvino_genai.py_openvino_genai import GenerationHandle, GenerationStatus

from localai_flask.backends.base import Event, Inquiry, Job, LoadProgress
from localai_flask.backends.embedding import Embedder
from localai_flask.backends.hugging_face.token_engine import TokenEngine, add_token
from localai_flask.backends.hugging_face.tokens import TextDecoder, Tokens
from localai_flask.backends.openvino.forms import KINDS, structured_output
from localai_flask.backends.openvino.loading import load_model
from localai_flask.backends.openvino.sampling import TAKEN, check_logprobs, generation_config
from localai_flask.backends.openvino.vectors import load_embedder
from localai_flask.backends.output.output import Output
from localai_flask.backends.side_thread import SideThread
from localai_flask.backends.takes import Takes
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import makes_vectors
from localai_flask.errors import ApiError
from localai_flask.generation import Failed, Finished, FinishReason, ModelInfo, Reply, Started, TokenLogprob

YIELD_S = 1e-4
"""How long a step lets go of the interpreter's lock, which the library holds: what was made could not leave else."""


@dataclass(eq=False)
class Sequence:
    """One job that the pipeline has."""

    job: Job
    output: Output
    decoder: TextDecoder
    handle: GenerationHandle
    is_told: bool = False
    """Whether its client knows that it was started."""


class OpenVinoBackend(TokenEngine):
    """Runs the model of a local folder, several requests at once."""

    tokens: Tokens
    takes = Takes(TAKEN, KINDS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        self.running: dict[int, Sequence] = {}
        self.embedder: Embedder | None = None
        """There if the model makes vectors; then it generates nothing."""
        self._has_cancelled = False
        if makes_vectors(config):
            self.embedder, self.tokens, info = load_embedder(config, progress)
            return info
        loaded = load_model(config, progress)
        self.tokens, self.cache, self.pipeline, self.trial = loaded.tokens, loaded.cache, loaded.pipeline, loaded.trial
        self.context_length, self.trained_context = loaded.cache.context_length, loaded.info.trained_context
        self._ids = count(1)
        self._compiling = SideThread()
        progress(1.0)
        return loaded.info

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        constraint, trial = job.sampling.constraint, self.trial
        if constraint is None or trial is None:
            return None
        return self._compiling.submit(lambda: trial.check(constraint))

    def prepare(self, job: Job) -> None:
        check_logprobs(job.sampling)
        super().prepare(job)

    @property
    def room(self) -> int:
        return 0 if self.embedder is not None else self.cache.sequences - len(self.running)

    def start(self, job: Job) -> bool:
        """Hand a job to the pipeline."""
        params = job.sampling
        decoder = TextDecoder(self.tokens, job.prompt_tokens, params.preserved)
        output = Output(job, self.context_length, unfinished=lambda: decoder.flush().encode())
        output.started_at = time.monotonic()
        form = structured_output(params.constraint) if params.constraint is not None else None
        wanted = generation_config(params, output.limit, self.tokens.eos, form)
        prompt = openvino.Tensor(np.array([job.prompt_tokens], np.int64))
        handle = self.pipeline.add_request(next(self._ids), prompt, wanted)
        self.running[job.id] = Sequence(job, output, decoder, handle)
        return True

    @property
    def inquiry_room(self) -> int:
        return 0 if self.embedder is None else self.embedder.room

    def start_inquiry(self, inquiry: Inquiry) -> None:
        assert self.embedder is not None, "capabilities come first"
        self.embedder.add(inquiry)

    def cancel(self, job_id: int) -> None:
        if self.embedder is not None:
            self.embedder.cancel(job_id)
        elif job_id in self.running:
            self._drop(job_id)

    @property
    def is_idle(self) -> bool:
        """The pipeline frees what was cancelled in its next step."""
        return not self.running and not self._has_cancelled and (self.embedder is None or self.embedder.is_idle)

    def step(self) -> list[Event]:
        if self.embedder is not None:
            return self.embedder.step(0)
        self._has_cancelled = False
        if self.pipeline.has_non_finished_requests():
            self.pipeline.step()
            time.sleep(YIELD_S)
        events: list[Event] = []
        for sequence in list(self.running.values()):
            events += [(sequence.job.id, reply) for reply in self._collect(sequence)]
        return events

    @property
    def kv_usage(self) -> float | None:
        if self.embedder is not None:
            return None
        return float(self.pipeline.get_metrics().cache_usage) / 100 if self.running else 0.0

    def _collect(self, sequence: Sequence) -> list[Reply]:
        """Return what the last step means for a sequence."""
        replies: list[Reply] = []
        if not sequence.is_told:
            sequence.is_told = True
            replies.append(Started(len(sequence.job.prompt_tokens)))
        handle = sequence.handle
        while handle.can_read():
            (output,) = handle.read().values()
            for token, logprob in zip(output.generated_ids, output.generated_log_probs, strict=True):
                replies += self._take(sequence, token, logprob)
                if replies and isinstance(replies[-1], Finished):
                    self._drop(sequence.job.id)
                    return replies
        if handle.get_status() != GenerationStatus.RUNNING:  # it ended by itself, without a token that ends a text
            replies.append(self._cut_off(sequence))
            self._drop(sequence.job.id)
        return replies

    def _take(self, sequence: Sequence, token: int, logprob: float) -> list[Reply]:
        """Add one token to a sequence; return the replies that it makes."""
        params = sequence.job.sampling
        is_end = token in self.tokens.eos and not params.ignore_eos
        found = TokenLogprob(token, self.tokens.piece(token), logprob) if params.top_logprobs is not None else None
        return add_token(sequence.output, token, sequence.decoder.read, lambda: found, is_end=is_end)

    def _cut_off(self, sequence: Sequence) -> Reply:
        """Return the last word about a sequence that the pipeline has ended by itself."""
        if sequence.handle.get_status() == GenerationStatus.FINISHED:
            return sequence.output.finished(FinishReason.EOS)
        return Failed(ApiError("The KV cache has no room for this request; raise the option `kv_cache_mib`.").info)

    def _drop(self, job_id: int) -> None:
        sequence = self.running.pop(job_id)
        if sequence.handle.get_status() == GenerationStatus.RUNNING:
            sequence.handle.cancel()
            self._has_cancelled = True
