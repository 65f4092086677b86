"""One sequence's answer as it grows: its text, its limits, and why it ends. All engines share it.

Knows tokens by their ids and bytes; how they are chosen is the engine's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from localai_flask.backends.base import Job
from localai_flask.backends.output.text import TextStream
from localai_flask.generation import Delta, Finished, FinishReason, Timings, TokenLogprob


def never() -> bool:
    """Return that a job's form is not filled, as it has none."""
    return False


class Output:
    """The answer of one job; `limit` is how many tokens it may have."""

    __slots__ = (
        *("job", "limit", "limit_reason", "text", "started_at", "first_token_at"),
        *("_stop_tokens", "_is_complete", "_unfinished", "_told"),
    )

    def __init__(
        self,
        job: Job,
        context_length: int,
        *,
        is_complete: Callable[[], bool] = never,
        unfinished: Callable[[], bytes] = bytes,
    ):
        """`is_complete` says whether the job's form is filled; `unfinished` returns the bytes that a decoder holds."""
        sampling, room = job.sampling, context_length - len(job.prompt_tokens)
        self.job = job
        self.limit, self.limit_reason = room, FinishReason.CONTEXT
        if 0 < sampling.max_tokens <= room:
            self.limit, self.limit_reason = sampling.max_tokens, FinishReason.MAX_TOKENS
        self.text = TextStream(sampling.stop, sampling.include_stop_str_in_output)
        self.started_at = 0.0
        """When the engine began to compute the prompt."""
        self.first_token_at = 0.0
        self._stop_tokens = frozenset(sampling.stop_token_ids)
        self._is_complete, self._unfinished = is_complete, unfinished
        self._told = 0

    def lift_limit(self, tokens: int) -> None:
        """Let the answer be longer than its context, for an engine that can forget what is old."""
        self.limit, self.limit_reason = tokens, FinishReason.MAX_TOKENS

    def take(self, token: int, piece: bytes, *, is_end: bool = False) -> tuple[str, FinishReason | None]:
        """Take the next token; return the text that it releases, and why the answer ends if it does.

        `is_end` says that the model has ended its text with the token, which is no part of it then.
        """
        tokens, sampling = self.job.output_tokens, self.job.sampling
        if not tokens:
            self.first_token_at = time.monotonic()
        tokens.append(token)
        if is_end:
            return self.flush(), FinishReason.EOS
        if token in self._stop_tokens:
            kept = self.text.feed(piece) if sampling.include_stop_str_in_output else ""
            return kept + self.flush(), FinishReason.EOS
        text = self.text.feed(piece)
        reason = self._reason()
        if reason is None or reason is FinishReason.STOP_SEQUENCE:
            return text, reason
        return text + self.flush(), reason

    def _reason(self) -> FinishReason | None:
        if self.text.matched is not None:
            return FinishReason.STOP_SEQUENCE
        if self._is_complete():
            return FinishReason.EOS
        if len(self.job.output_tokens) >= self.limit:
            return self.limit_reason
        return FinishReason.MAX_TOKENS if self.job.sampling.is_over(self.first_token_at) else None

    def flush(self) -> str:
        """Return the text that was held back."""
        held = self._unfinished()
        return (self.text.feed(held) if held else "") + self.text.flush()

    def delta(self, text: str, logprobs: Iterable[TokenLogprob] = ()) -> Delta:
        """Make the reply for text, with the number of tokens since the last one."""
        count = len(self.job.output_tokens) - self._told
        self._told += count
        return Delta(text, list(logprobs), count)

    def finished(self, reason: FinishReason, *, draft_tokens: int = 0, accepted_tokens: int = 0) -> Finished:
        """Make the last word about the job."""
        now = time.monotonic()
        first = self.first_token_at or now
        started = self.started_at or first
        timings = Timings(
            queue_ms=(started - self.job.created) * 1e3,
            prompt_ms=(first - started) * 1e3,
            decode_ms=(now - first) * 1e3,
            draft_tokens=draft_tokens,
            accepted_tokens=accepted_tokens,
        )
        return Finished(reason, self.job.usage, timings, self.text.matched)
