"""What is known of one request from its arrival to the end of its answer: for counts, the access line and the list of
requests in flight. Plain data; knows neither HTTP nor models.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from localai_flask.errors import RequestCancelled

CLIENT_LEFT = "client_left"
"""In the place of an error's code."""


class Phases(NamedTuple):
    """Where a request's time went, in microseconds; together they are the time from its arrival to its answer's end.

    `load` is waiting for the model to be loaded, `queue` for the engine to begin, `prefill` goes on until the first
    token, and `decode` until the last, as the engine has measured it, or, of what it has not finished, as its answers
    came. `other` is all else: reading, rendering, ways between processes, and a client that takes its time.
    """

    load: int
    queue: int
    prefill: int
    decode: int
    other: int


@dataclass(eq=False, slots=True, kw_only=True)
class RequestRecord:
    """One request. All times are on the clock of `time.monotonic`."""

    id: str
    method: str = ""
    client: str = ""
    arrived: float = field(default_factory=time.monotonic)
    arrived_at: float = field(default_factory=time.time)
    """The same on the wall clock, for people."""
    route: str = ""
    family: str = "other"
    status: int = 0
    key: str = ""
    keeper: str = ""
    """Who owns it, beside administrators, as in `Key`."""
    model: str = ""
    stream: bool = False
    code: str = ""
    """Of the error that has ended it."""
    finish: str = ""
    """Why the model has ended, of the sequence that ended last."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    is_cancelled: bool = False
    answer_id: str = ""
    """The id of its answer, once it is made."""
    can_end_thinking: bool = False
    """Whether the engine can be told to have its model answer instead of thinking."""
    ends_thinking: bool = False
    """Whether that is wanted."""
    span: object = None
    """What OpenTelemetry knows it by, if it is traced."""
    trace: str = ""
    """The span as W3C has it (traceparent), for whoever works on the request elsewhere."""
    awaited: float | None = None
    """When it began to wait for its model to be loaded; each of the following, for what comes next."""
    submitted: float | None = None
    started: float | None = None
    answered: float | None = None
    ended: float | None = None
    measured: tuple[float, float, float] | None = None
    """How long the engine says that queue, prefill and decode took, of the sequence that ended last."""

    def check(self) -> None:
        """Raise `RequestCancelled` if an administrator has cancelled it."""
        if self.is_cancelled:
            raise RequestCancelled("An administrator has cancelled this request.")

    @property
    def state(self) -> str:
        """What it is doing now."""
        marks = {"ending": self.ended, "decode": self.answered, "prefill": self.started, "queued": self.submitted}
        marks["loading"] = self.awaited
        return next((state for state, mark in marks.items() if mark is not None), "parsing")

    def await_model(self, name: str) -> None:
        """Note that it waits for its model."""
        self.model = name
        self.awaited = time.monotonic()

    def submit(self) -> None:
        """Note that it is handed to the engine; again, if something smaller is tried."""
        self.submitted = time.monotonic()
        self.started = self.answered = self.ended = self.measured = None

    def phases(self, now: float) -> Phases:
        """Return where its time went, until now."""
        ended = now if self.ended is None else self.ended
        answered = ended if self.answered is None else self.answered
        started = answered if self.started is None else self.started
        submitted = ended if self.submitted is None else self.submitted
        awaited = submitted if self.awaited is None else self.awaited
        marks = (awaited, submitted, started, answered, ended)
        load, queue, prefill, decode = (_micros(end - begin) for begin, end in pairwise(marks))
        if self.measured is not None and sum(self.measured) <= ended - submitted:
            queue, prefill, decode = map(_micros, self.measured)
        return Phases(load, queue, prefill, decode, _micros(now - self.arrived) - load - queue - prefill - decode)


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)
