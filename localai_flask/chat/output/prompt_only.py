"""The reader of an answer that nobody wants, as only its prompt is asked for."""

from __future__ import annotations

import msgspec

from localai_flask.chat.answer import Event, Finish
from localai_flask.generation import Delta, Finished, FinishReason


class PromptOnly:
    """Reports the end of an answer of no tokens, and nothing else."""

    def feed(self, delta: Delta) -> list[Event]:
        return []

    def finish(self, finished: Finished) -> list[Event]:
        usage = msgspec.structs.replace(finished.usage, completion_tokens=0, reasoning_tokens=0)
        return [Finish(FinishReason.MAX_TOKENS, usage, finished.timings)]
