"""One request's questions to a model: vectors and scores count as prompts that are answered by no text."""

from __future__ import annotations

import time
from collections.abc import Iterable

from localai_flask.errors import ErrorInfo
from localai_flask.inquiry import Embedded, Fact, Scored
from localai_flask.metrics import families as f
from localai_flask.metrics.counts import Counts
from localai_flask.metrics.request_record import RequestRecord
from localai_flask.metrics.sequence_meter import reason_of


class QuestionMeter:
    """Counts the questions of one request together, from when they are asked."""

    def __init__(self, counts: Counts, record: RequestRecord, model: str):
        self._counts = counts
        self._record = record
        self._labels = (model, "0")
        self._has_ended = False
        record.submit()
        record.started = record.submitted  # an engine does not tell when it begins with a question

    def finish(self, answers: Iterable[Fact]) -> None:
        """Count answers; what needs no computing, such as tokens, is none of them."""
        tokens = sum(answer.tokens for answer in answers if isinstance(answer, Embedded | Scored))
        self._record.prompt_tokens += tokens
        self._counts.add(f.PROMPT_TOKENS, self._labels, tokens)
        self._end("stop")

    def fail(self, error: ErrorInfo) -> None:
        """Count questions that have failed, unless the engine has refused to begin with them."""
        reason = reason_of(error, has_begun=False)
        if reason is not None:
            self._end(reason)
        self._has_ended = True

    def abort(self) -> None:
        """Count questions that nobody waits for any more; what has ended stays as it is."""
        self._end("abort")

    def _end(self, reason: str) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._record.ended = time.monotonic()
        self._counts.add(f.SUCCESS, (*self._labels, reason))
        self._counts.observe(f.LATENCY, self._labels, self._record.ended - self._record.arrived)
