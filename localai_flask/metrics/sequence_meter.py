"""One sequence of a model's answer as it comes: counts its tokens and times for vLLM's metrics, and for its request."""

from __future__ import annotations

import time
from typing import NamedTuple

from localai_flask.errors import ErrorInfo, Overloaded, RequestCancelled, ServerShuttingDown
from localai_flask.generation import Delta, Finished, FinishReason, Started, Timings, Usage
from localai_flask.metrics import families as f
from localai_flask.metrics.counts import Counts
from localai_flask.metrics.request_record import RequestRecord

FINISHED = {
    FinishReason.EOS: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.TOOL_CALLS: "stop",
    FinishReason.MAX_TOKENS: "length",
    FinishReason.CONTEXT: "length",
}
"""vLLM's words for why a sequence has ended well."""
ABORTS = (RequestCancelled.code, ServerShuttingDown.code)


def reason_of(error: ErrorInfo, *, has_begun: bool) -> str | None:
    """Return vLLM's word for what has failed; None for what the engine has refused to begin."""
    if error.code in ABORTS:
        return "abort"
    is_refusal = error.status < 500 or error.code == Overloaded.code
    return None if is_refusal and not has_begun else "error"


class Measured(NamedTuple):
    """The tokens of a sequence, and the time that they took."""

    usage: Usage
    timings: Timings


class SequenceMeter:
    """Counts one sequence; `labels` are the model's."""

    def __init__(self, counts: Counts, record: RequestRecord, model: str, max_tokens: int):
        self._counts = counts
        self._record = record
        self._labels = (model, "0")
        self._max_tokens = max_tokens
        self._started = Started(0)
        self._tokens = self._observed = 0
        """How many were generated, and of how many of them it is known how long after the one before they came."""
        self._submitted = time.monotonic()
        self._begun: float | None = None
        self._first: float | None = None
        self._last = 0.0
        self._measured: tuple[float, float, float] | None = None
        """Queue, prefill and decode in seconds, as the engine says."""
        self._has_ended = False
        for reason in (*sorted(set(FINISHED.values())), "abort", "error"):
            counts.prepare(f.SUCCESS, (*self._labels, reason))
        for family in (f.DRAFTED, f.ACCEPTED):
            counts.prepare(family, self._labels)

    def add(self, reply: object) -> None:
        """Take one reply of the engine."""
        if isinstance(reply, Delta):
            self._add_tokens(reply.tokens)
        elif isinstance(reply, Started):
            self._start(reply)
        elif isinstance(reply, Finished):
            self._finish(reply)

    def finished(self, reason: FinishReason) -> Finished:
        """Return the last word in the place of the engine, which has not said it, and count it."""
        finished = Finished(reason, *self._measure(time.monotonic()))
        self._finish(finished)
        return finished

    def so_far(self) -> Measured | None:
        """Return what there is up to the last token, while more may come; None before the first."""
        return None if self._first is None else self._measure(self._last)

    def abort(self) -> None:
        """Count a sequence that nobody waits for any more; one that has ended stays as it is."""
        self._end("abort")

    def fail(self, error: ErrorInfo) -> None:
        """Count a sequence that has failed, unless the engine has refused to begin it."""
        reason = reason_of(error, has_begun=self._begun is not None)
        if reason is None:
            self._has_ended = True
        else:
            self._end(reason)

    def _measure(self, until: float) -> Measured:
        started = self._started
        usage = Usage(started.prompt_tokens, self._tokens, started.cached_tokens, kept_tokens=started.kept_tokens)
        queue, prefill, decode = (1000 * each for each in self._phases(until))
        return Measured(usage, Timings(queue, prefill, decode))

    def _start(self, started: Started) -> None:
        record, counts = self._record, self._counts
        self._started, self._begun = started, time.monotonic()
        record.started = record.started or self._begun
        record.prompt_tokens += started.prompt_tokens
        record.cached_tokens += started.cached_tokens
        counts.add(f.PROMPT_TOKENS, self._labels, started.prompt_tokens)
        counts.add(f.PREFIX_QUERIES, self._labels, started.prompt_tokens)
        counts.add(f.CACHED_TOKENS, self._labels, started.cached_tokens)
        counts.add(f.PREFIX_HITS, self._labels, started.cached_tokens)

    def _add_tokens(self, tokens: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self._record.answered = self._record.answered or now
            self._counts.observe(f.FIRST_TOKEN, self._labels, now - self._record.arrived)
        elif tokens:
            self._counts.observe(f.INTER_TOKEN, self._labels, (now - self._last) / tokens, tokens)
            self._observed += tokens
        self._last = now
        self._count_tokens(tokens)

    def _count_tokens(self, tokens: int) -> None:
        self._tokens += tokens
        self._record.completion_tokens += tokens
        self._counts.add(f.GENERATION_TOKENS, self._labels, tokens)

    def _finish(self, finished: Finished) -> None:
        if self._has_ended:
            return
        self._count_tokens(max(0, finished.usage.completion_tokens - self._tokens))
        self._record.finish = finished.reason.value
        timings = finished.timings
        if timings.prompt_ms:
            self._measured = timings.queue_ms / 1000, timings.prompt_ms / 1000, timings.decode_ms / 1000
            self._record.measured = self._measured
        if finished.timings.draft_tokens:
            self._counts.add(f.DRAFTED, self._labels, finished.timings.draft_tokens)
            self._counts.add(f.ACCEPTED, self._labels, finished.timings.accepted_tokens)
        self._end(FINISHED[finished.reason])

    def _end(self, reason: str) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        counts, labels, now = self._counts, self._labels, time.monotonic()
        counts.add(f.SUCCESS, (*labels, reason))
        counts.observe(f.LATENCY, labels, now - self._record.arrived)
        queue, prefill, decode = self._measured or self._phases(now)
        counts.observe(f.QUEUE_TIME, labels, queue)
        if self._begun is None:
            return
        counts.observe(f.PREFILL_TIME, labels, prefill)
        counts.observe(f.DECODE_TIME, labels, decode)
        counts.observe(f.INFERENCE_TIME, labels, prefill + decode)
        counts.observe(f.REQUEST_PROMPT, labels, self._started.prompt_tokens)
        counts.observe(f.REQUEST_GENERATION, labels, self._tokens)
        if self._max_tokens:
            counts.observe(f.REQUEST_MAX_TOKENS, labels, self._max_tokens)
        if self._tokens > 1:
            per_token = decode / (self._tokens - 1)
            counts.observe(f.PER_OUTPUT_TOKEN, labels, per_token)
            # Tokens that came together, as they were generated faster than they were read, take what is usual.
            counts.observe(f.INTER_TOKEN, labels, per_token, max(0, self._tokens - 1 - self._observed))

    def _phases(self, now: float) -> tuple[float, float, float]:
        first = self._first or now
        begun = self._begun or first
        return begun - self._submitted, first - begun, now - first
