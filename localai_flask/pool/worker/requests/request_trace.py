"""The marks of one request that its client traces, and the spans that a model worker makes of them."""

from __future__ import annotations

import time

from localai_flask.generation import Delta, Finished
from localai_flask.metrics import tracing


class RequestTrace:
    """When a request that is traced came, began and answered; `parent` is its span's W3C traceparent."""

    def __init__(self, parent: str, model: str, arrived: float):
        self._parent = parent
        self._attributes: dict[str, str | int] = {"gen_ai.request.model": model}
        self._arrived = arrived
        self._begun: float | None = None
        self._answered: float | None = None

    def begin(self) -> None:
        self._begun = time.monotonic()

    def note(self, reply: object) -> None:
        """Take a reply of the engine."""
        if isinstance(reply, Delta) and self._answered is None:
            self._answered = time.monotonic()
        elif isinstance(reply, Finished):
            self._attributes["gen_ai.usage.output_tokens"] = reply.usage.completion_tokens

    def end(self) -> None:
        """Make the spans of what the request has come to."""
        made = tracing.of_process()
        if made is None:
            return
        now = time.monotonic()
        marks = {"queue": self._arrived, "prefill": self._begun, "decode": self._answered}
        begins = [(name, begun) for name, begun in marks.items() if begun is not None]
        ends = [begun for _, begun in begins[1:]] + [now]
        phases = {name: (begun, ended) for (name, begun), ended in zip(begins, ends, strict=True)}
        made.add_phases(self._parent, phases, self._attributes)
