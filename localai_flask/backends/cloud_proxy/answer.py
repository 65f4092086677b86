"""One job's answer from a server elsewhere: the events of its stream in, replies out."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from localai_flask.backends.base import Job
from localai_flask.backends.cloud_proxy.conversation import ReplyText
from localai_flask.backends.output.output import Output
from localai_flask.generation import FinishReason, Reply, Started, TokenLogprob, Usage

UNKNOWN = -1
"""The id of a token of which only the text is told."""
MOST_TOKENS = 1 << 31
REASONS = {"length": FinishReason.MAX_TOKENS}
CUTS = (FinishReason.STOP_SEQUENCE,)


class RemoteAnswer:
    """Counts what comes in until the server says itself how many tokens there were."""

    def __init__(self, job: Job, output: Output):
        self.job = job
        self.stream: Future[None] | None = None
        self._output = output
        self._reply = ReplyText()
        self._reason: FinishReason | None = None
        self._has_started = False

    def take(self, event: Any) -> list[Reply]:
        replies: list[Reply] = []
        if not self._has_started:
            self._has_started = True
            replies.append(Started(0))
        if usage := event.get("usage"):
            self.job.counted = _usage(usage)
        for choice in (event.get("choices") or [])[:1]:
            replies += self._choice(choice)
        return replies

    def close(self) -> list[Reply]:
        """Finish; the usage comes behind the last words."""
        if self._reason is None:
            return []
        text = self._output.text.feed(self._reply.end().encode()) + self._output.flush()
        replies: list[Reply] = [self._output.delta(text)] if text else []
        return [*replies, self._output.finished(self._reason)]

    def _choice(self, choice: dict[str, Any]) -> list[Reply]:
        said = choice.get("text") or self._reply.feed(choice.get("delta") or {})
        if choice.get("finish_reason"):
            self._reason = REASONS.get(choice["finish_reason"], FinishReason.EOS)
        logprobs = _logprobs(choice.get("logprobs"))
        if not said and not logprobs:
            return []
        text, reason = self._output.take(UNKNOWN, said.encode())
        wanted = logprobs if self.job.sampling.top_logprobs is not None else []
        replies: list[Reply] = [self._output.delta(text, wanted)] if text or wanted else []
        if reason in CUTS or self.job.sampling.is_over(self._output.first_token_at):
            replies.append(self._output.finished(reason or FinishReason.MAX_TOKENS))
        return replies


def _usage(said: dict[str, Any]) -> Usage:
    details = said.get("prompt_tokens_details") or {}
    read, written, cached = said.get("prompt_tokens"), said.get("completion_tokens"), details.get("cached_tokens")
    return Usage(_count(read), _count(written), _count(cached))


def _count(said: Any) -> int:
    """Return a number of tokens, as far as it can be one."""
    return said if isinstance(said, int) and 0 <= said < MOST_TOKENS else 0


def _logprobs(said: Any) -> list[TokenLogprob]:
    """Read log-probabilities in the shape of chats, or of completions, which have texts alone."""
    if not said:
        return []
    if "content" in said:
        return [
            TokenLogprob(*_entry(each), [_entry(other) for other in each.get("top_logprobs") or []])
            for each in said["content"] or []
        ]
    texts, values = said.get("tokens") or [], said.get("token_logprobs") or []
    tops = said.get("top_logprobs") or [{}] * len(texts)
    return [
        TokenLogprob(UNKNOWN, text.encode(), value or 0.0, _pairs(top or {}))
        for text, value, top in zip(texts, values, tops, strict=False)
    ]


def _pairs(top: dict[str, float]) -> list[tuple[int, bytes, float]]:
    return [(UNKNOWN, text.encode(), value) for text, value in top.items()]


def _entry(said: dict[str, Any]) -> tuple[int, bytes, float]:
    text = bytes(said["bytes"]) if said.get("bytes") else said["token"].encode()
    return said.get("id", UNKNOWN), text, float(said["logprob"])
