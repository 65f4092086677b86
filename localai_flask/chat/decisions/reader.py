"""The reader of an answer of which nothing is wanted but how likely its first token was, and others in its place."""

from __future__ import annotations

import msgspec

from localai_flask.chat.answer import Event, Finish
from localai_flask.generation import Delta, Finished, TokenLogprob


class LogprobReader:
    """Reports the end of an answer with the log-probabilities of its tokens, and no text."""

    def __init__(self) -> None:
        self._logprobs: list[TokenLogprob] = []

    def feed(self, delta: Delta) -> list[Event]:
        self._logprobs += delta.logprobs
        return []

    def finish(self, finished: Finished) -> list[Event]:
        usage = msgspec.structs.replace(finished.usage, completion_tokens=0, reasoning_tokens=0)
        return [Finish(finished.reason, usage, finished.timings, logprobs=self._logprobs)]
