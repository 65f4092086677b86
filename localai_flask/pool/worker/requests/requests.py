"""The requests that a worker has taken: for whom each is, on what terms, and which belong together."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

from localai_flask.backends.base import Inquiry, Job
from localai_flask.errors import ApiError, DeadlineExceeded
from localai_flask.generation import Delta
from localai_flask.pool.channel import Channel
from localai_flask.pool.in_hand import Mark
from localai_flask.pool.messages import Terms
from localai_flask.pool.worker.requests.request_trace import RequestTrace

log = logging.getLogger(__name__)

Route = tuple[Channel, int]
"""The channel that a request came over, and its id there."""


@dataclass(eq=False, slots=True)
class Request:
    """A job or an inquiry, and what the engine need not know of it."""

    work: Job | Inquiry
    route: Route
    terms: Terms
    mark: Mark
    arrived: float
    is_ready: bool = True
    """Whether the engine has looked at it; one that takes long to look at waits meanwhile, and is passed by others."""
    has_started: bool = False
    is_told_to_wait: bool = False
    place: int = 0
    """The place in the line that it was last told."""
    trace: RequestTrace | None = None
    held_text: Delta | None = None
    """Text that waits for what follows it (text_gatherer.py)."""
    text_sent_at: float = -math.inf

    @property
    def id(self) -> int:
        return self.work.id

    @property
    def group(self) -> int:
        """What those share that came together, and count as one."""
        return self.work.group if isinstance(self.work, Inquiry) else self.work.id

    @property
    def deadline(self) -> float:
        """When to give up, on the clock of `time.monotonic()`."""
        return float("inf") if self.terms.timeout_s is None else self.arrived + self.terms.timeout_s


class Requests:
    """Finds requests by their ids and by their routes; for the engine thread alone, but for `routes`."""

    def __init__(self) -> None:
        self._requests: dict[int, Request] = {}
        self._ids: dict[Route, int] = {}
        self._groups: dict[int, int] = {}
        """How many of each group there are."""
        self._begun: set[int] = set()
        """The groups of which the engine has begun with some."""

    def __len__(self) -> int:
        """How many requests there are; those of a group count as one."""
        return len(self._groups)

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._requests.values()))

    def add(self, request: Request) -> None:
        self._requests[request.id] = request
        self._ids[request.route] = request.id
        self._groups[request.group] = self._groups.get(request.group, 0) + 1

    def begin(self, request: Request) -> None:
        """Note that the engine has begun with a request, and so with its group."""
        request.has_started = True
        self._begun.add(request.group)

    def has_begun_group(self, request: Request) -> bool:
        """Return whether the engine has begun with any of a request's group, be that done already or not."""
        return request.group in self._begun

    def find(self, id: int) -> Request | None:
        return self._requests.get(id)

    def at(self, route: Route) -> Request | None:
        return self._requests.get(self._ids.get(route, 0))

    def routes(self) -> list[Route]:
        return list(self._ids)

    def remove(self, request: Request) -> None:
        del self._requests[request.id]
        del self._ids[request.route]
        self._groups[request.group] -= 1
        if not self._groups[request.group]:
            del self._groups[request.group]
            self._begun.discard(request.group)


def own_error(error: BaseException, model: str) -> ApiError:
    """Return what a request is told at which the engine has failed, and which it alone ends with."""
    if isinstance(error, ApiError):
        return error
    log.error("the engine of model %s could not take a request", model, exc_info=error)
    return ApiError(f"The engine failed at this request ({type(error).__name__}); see the log.")


def too_late(request: Request, has_begun: bool) -> DeadlineExceeded:
    """Return what a request is told whose time is over, and how far it, or what it came with, has come."""
    work = request.work
    if not request.is_ready:
        stage = "it was still being prepared"
    elif not has_begun:
        stage = "it still waited for its turn"
    elif isinstance(work, Inquiry):
        stage = "its text was being computed"
    elif not work.output_tokens:
        stage = "its prompt was being processed"
    else:
        count = len(work.output_tokens)
        stage = "1 token was generated" if count == 1 else f"{count} tokens were generated"
    return DeadlineExceeded(
        f"The request was not finished in the time it was given, which ended when {stage}; "
        "allow more time or ask for less."
    )
