"""The backend's verbs on either library's generator; tokens are chosen by what all engines share.

The generator batches, caches prompts by pages, and reads long ones in pieces.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from localai_flask.backends.base import Event, Job, LoadProgress
from localai_flask.backends.exllama.chooser import Chooser
from localai_flask.backends.exllama.loading import load_model
from localai_flask.backends.exllama.runner import Update
from localai_flask.backends.hugging_face.grammar import TokenGrammars
from localai_flask.backends.hugging_face.token_engine import has_ended, take_each
from localai_flask.backends.hugging_face.tokens import TextDecoder, Tokens
from localai_flask.backends.output.output import Output
from localai_flask.backends.takes import Takes
from localai_flask.backends.token_choice.choosing_engine import ChoosingEngine
from localai_flask.backends.token_choice.sampler import TAKEN
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError
from localai_flask.generation import (
    ALL_CONSTRAINTS,
    Failed,
    ModelInfo,
    Progress,
    Reply,
    Started,
)


@dataclass(eq=False)
class Sequence:
    """One job that the library has."""

    job: Job
    output: Output
    chooser: Chooser
    decoder: TextDecoder
    is_started: bool = False


class ExllamaBackend(ChoosingEngine):
    """Runs a folder by exllamav2 or exllamav3, as the config's backend says."""

    tokens: Tokens
    takes = Takes(TAKEN, ALL_CONSTRAINTS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        loaded = load_model(config, progress)
        self._runner, self.tokens, self.context_length = loaded.runner, loaded.tokens, loaded.context
        self.trained_context = loaded.info.trained_context
        self.grammars = TokenGrammars(loaded.tokens)
        self._running: dict[int, Sequence] = {}
        return loaded.info

    @property
    def room(self) -> int:
        return self._runner.parallel - len(self._running)

    def start(self, job: Job) -> bool:
        decoder = TextDecoder(self.tokens, job.prompt_tokens, job.sampling.preserved)
        output = Output(job, self.context_length, unfinished=lambda: decoder.flush().encode())
        chooser = Chooser(self.make_sampler(job), job.prompt_tokens, self.tokens.size)
        self._running[job.id] = Sequence(job, output, chooser, decoder)
        self._runner.add(job.id, job.prompt_tokens, chooser, output.limit, sorted(self.tokens.eos))
        return True

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
        sampler, read = sequence.chooser.sampler, sequence.decoder.read
        replies += take_each(new, lambda token: self.add_chosen(sequence.output, sampler, token, read))
        if has_ended(replies):
            self.cancel(job.id)
        return replies
