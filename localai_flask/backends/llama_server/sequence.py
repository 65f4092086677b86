"""One job's answer as it comes in over HTTP: events in, replies out."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import msgspec

from localai_flask.backends.base import Job
from localai_flask.backends.llama_server.completion import Chunk
from localai_flask.backends.output.output import Output
from localai_flask.generation import FinishReason, Progress, Reply, Started

UNSEEN = -1
"""In place of a token of which the program has told no more than that there was one."""
CUTS = (FinishReason.STOP_SEQUENCE, FinishReason.EOS)
"""Why an answer is cut here; that its limit is reached, or its text has ended, the program says itself."""


@dataclass(eq=False)
class Sequence:
    """A job that the program computes; `stream` is the request, whose cancelling hangs up."""

    job: Job
    output: Output
    context: int
    """How many tokens prompt and answer may have."""
    stream: Future[None] | None = None
    has_started: bool = False
    begun: float = field(default_factory=time.monotonic)

    def take(self, event: Any) -> list[Reply]:
        """Take an event; the last of the replies is `Finished` if the answer has ended."""
        chunk = msgspec.convert(event, Chunk, strict=False)
        replies = self._news(chunk)
        if chunk.stop:
            return replies + self._end(chunk)
        if chunk.prompt_progress is not None:
            return replies
        text, reason = self._read(chunk)
        top = self.job.sampling.top_logprobs
        logprobs = [] if top is None else chunk.logprobs(top)
        if text or logprobs:
            replies.append(self.output.delta(text, logprobs))
        if reason is not None:
            replies.append(self.output.finished(reason))
        return replies

    def close(self) -> list[Reply]:
        return []

    def _news(self, chunk: Chunk) -> list[Reply]:
        """Report that the program has begun, and how much of the prompt is done."""
        replies: list[Reply] = []
        progress = chunk.prompt_progress or {}
        self._count_prompt(int(progress.get("total") or chunk.tokens_evaluated or 0))
        total = len(self.job.prompt_tokens)
        if not self.has_started:
            self.has_started = True
            self.output.started_at = self.begun
            self.job.num_cached = int(progress.get("cache", 0))
            replies.append(Started(total, self.job.num_cached))
        if progress and progress["cache"] < progress["processed"] < total:
            replies.append(Progress(int(progress["processed"]), total))
        return replies

    def _read(self, chunk: Chunk) -> tuple[str, FinishReason | None]:
        """Read the text of the next tokens; return why the answer is to be cut, if it is."""
        if chunk.tokens_predicted is not None:
            self._count(chunk.tokens_predicted - 1)
        text, reason = self.output.take(chunk.tokens[-1] if chunk.tokens else UNSEEN, chunk.content.encode())
        if reason in CUTS:
            return text, reason
        is_over = self.job.sampling.is_over(self.output.first_token_at)
        return text, FinishReason.MAX_TOKENS if is_over else None

    def _end(self, chunk: Chunk) -> list[Reply]:
        self._count(chunk.tokens_predicted or 0)
        self.job.num_cached = chunk.cached_tokens or self.job.num_cached
        text = self.output.flush()
        reason = FinishReason.EOS if chunk.has_ended_itself else self.output.limit_reason
        return [*([self.output.delta(text)] if text else []), self.output.finished(reason)]

    def _count_prompt(self, told: int) -> None:
        """Count the tokens of images, of which the program alone knows."""
        job, output = self.job, self.output
        missing = told - len(job.prompt_tokens)
        if job.prompt.images and missing > 0:
            job.prompt_tokens = [*job.prompt_tokens, *[UNSEEN] * missing]
            room = self.context - told
            if room < output.limit:
                output.limit, output.limit_reason = room, FinishReason.CONTEXT

    def _count(self, told: int) -> None:
        """Count tokens of which nothing was seen, as those whose bytes were no whole character yet."""
        tokens = self.job.output_tokens
        tokens += [UNSEEN] * (told - len(tokens))
