"""The verbs of an engine that is spoken to over HTTP: what was begun runs in the HTTP thread, and `step` collects."""

from __future__ import annotations

import abc
import logging
import queue
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

import httpx2
import msgspec

from localai_flask.backends.base import Backend, Event, Inquiry, Job
from localai_flask.backends.over_http.failures import as_api_error
from localai_flask.backends.over_http.http_thread import HttpThread
from localai_flask.errors import ApiError, Unavailable
from localai_flask.generation import Delta, Failed, Finished, Reply
from localai_flask.inquiry import Fact, Question

log = logging.getLogger(__name__)

MOST_TEXT = 1 << 20
"""How many characters a step hands on, however fast the other side writes: they become one message."""


class Answering(Protocol):
    """The answer of one job, made of the events that come in."""

    job: Job
    stream: Future[None] | None

    def take(self, event: Any) -> list[Reply]:
        """Take an event; the last of the replies is `Finished` if the answer has ended."""

    def close(self) -> list[Reply]:
        """Return what is left when the stream has ended; no `Finished` if it ended too early."""


A = TypeVar("A", bound=Answering)


class HttpBackend(Backend, Generic[A]):
    """Runs up to `slots` jobs; `called` is how errors name the other side."""

    name: str
    slots: int
    called: str
    context_length: int
    trained = 0

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._running: dict[int, A] = {}
        self._asked: dict[int, Future[Fact]] = {}

    @property
    @abc.abstractmethod
    def http(self) -> HttpThread: ...

    @abc.abstractmethod
    def answering(self, job: Job) -> tuple[A, str, dict[str, Any]]:
        """Return how a job's answer is read, and where to send what for it."""

    @abc.abstractmethod
    async def answer(self, question: Question) -> Fact: ...

    @property
    def room(self) -> int:
        return self.slots - len(self._running)

    def start(self, job: Job) -> bool:
        reading, path, body = self.answering(job)
        self._running[job.id] = reading
        reading.stream = self.http.begin(self._compute(job.id, path, body))
        return True

    async def _compute(self, id: int, path: str, body: dict[str, Any]) -> None:
        try:
            await self.http.stream(path, body, lambda event: self._say(id, event))
            if id not in self._running or not await self.has_ended():
                self._say(id, None)
        except httpx2.TransportError as error:
            if not await self.has_ended():
                self._say(id, error)
        except Exception as error:
            self._say(id, error)

    async def has_ended(self) -> bool:
        """Return whether the other side is gone for good, so that everything is ended at once."""
        return False

    def ask(self, inquiry: Inquiry) -> Fact | None:
        return None

    @property
    def inquiry_room(self) -> int:
        return 2 * self.slots - len(self._asked)

    def start_inquiry(self, inquiry: Inquiry) -> None:
        self._asked[inquiry.id] = self._begin(self.answer(inquiry.question))
        self._asked[inquiry.id].add_done_callback(lambda made: self._say(inquiry.id, made))

    def cancel(self, job_id: int) -> None:
        reading = self._running.pop(job_id, None)
        work = self._asked.pop(job_id, None) if reading is None else reading.stream
        if work is not None:
            work.cancel()

    def step(self) -> list[Event]:
        """Collect what has been said, or as much of it as one message may hold."""
        events: list[Event] = []
        size = 0
        while not self._said.empty():
            if size > MOST_TEXT:
                self._notify()
                break
            id, said = self._said.get()
            if (reading := self._running.get(id)) is not None:
                replies = self._replies(reading, said)
                size += sum(len(reply.text) for reply in replies if isinstance(reply, Delta))
                events += [(id, reply) for reply in replies]
            elif self._asked.pop(id, None) is not None:
                events.append((id, self._fact(said)))  # type: ignore[arg-type]
        return events

    @property
    def is_idle(self) -> bool:
        return not self._running and not self._asked

    @property
    def runs_by_itself(self) -> bool:
        return True

    def _begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return self.http.begin(work)

    def _say(self, id: int, said: Any) -> None:
        """Leave something for `step`; called from the HTTP thread."""
        self._said.put((id, said))
        self._notify()

    def _notify(self) -> None:
        """Ask to be stepped."""
        if self.notify is not None:
            self.notify()

    def _replies(self, reading: A, said: Any) -> list[Reply]:
        try:
            if isinstance(said, BaseException):
                raise said
            replies = reading.close() if said is None else reading.take(said)
            if said is None and not (replies and isinstance(replies[-1], Finished)):
                raise Unavailable(f"{self.called} ended its answer in the middle; try again.")
        except Exception as error:
            replies = [Failed(self.api_error(error).info)]
        if replies and isinstance(replies[-1], Finished | Failed):
            self.cancel(reading.job.id)
        return replies

    def _fact(self, made: Future[Fact]) -> Fact | Failed:
        error = made.exception()
        return made.result() if error is None else Failed(self.api_error(error).info)

    def api_error(self, error: BaseException) -> ApiError:
        """Return what to tell a client of something that went wrong."""
        if isinstance(error, msgspec.MsgspecError | KeyError | TypeError | ValueError):
            log.error("%s sent what cannot be read: %s: %s", self.called, type(error).__name__, error)
        return as_api_error(error, self.called, limit=self.context_length, trained=self.trained)
