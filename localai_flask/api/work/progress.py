"""How far a stream is that has not begun to answer: loading, its place in the line, its prompt; for those who ask.

The prompt's progress has the names and the order of llama-server's `return_progress`: first what the cache had, then
each step, and at last all of it. `load_progress` (0 to 1) and `queue_place` (1 for the next) are ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from localai_flask.chat.answer import Event
from localai_flask.generation import Progress, PromptLogprobs, Started
from localai_flask.pool.messages import Queued

Report = dict[str, Any]
"""What is reported, by the names under which it stands in a chunk or an event."""
Waits = Queued | Progress
"""What a work yields, beside its events, to those who ask."""


class ProgressReports:
    """Makes the reports of one stream from what its work yields."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._is_loading = False
        self._prompts: dict[int, _Prompt] = {}

    def feed(self, item: tuple[int, Event | Waits] | float | None) -> Iterator[tuple[int, Report]]:
        """Yield the reports for one item, each with the index of the sequence that it is about."""
        if isinstance(item, float):
            self._is_loading = True
            yield 0, {"load_progress": round(item, 4)}
            return
        if self._is_loading and item is not None:
            self._is_loading = False
            yield 0, {"load_progress": 1.0}
        if item is None:
            return
        index, event = item
        if isinstance(event, Queued):
            yield index, {"queue_place": event.place}
        elif isinstance(event, Started):
            self._prompts[index] = prompt = _Prompt(event, self._clock())
            yield index, prompt.report(event.cached_tokens, self._clock())
        elif index in self._prompts and not isinstance(event, PromptLogprobs):
            prompt = self._prompts[index]
            done = event.done if isinstance(event, Progress) else prompt.total
            if done > prompt.processed:
                yield index, prompt.report(done, self._clock())


class _Prompt:
    def __init__(self, started: Started, now: float):
        self.total, self._cached, self._begun = started.prompt_tokens, started.cached_tokens, now
        self.processed = 0

    def report(self, processed: int, now: float) -> Report:
        self.processed = processed
        time_ms = round(1000 * (now - self._begun))
        told = {"total": self.total, "cache": self._cached, "processed": processed, "time_ms": time_ms}
        return {"prompt_progress": told}
