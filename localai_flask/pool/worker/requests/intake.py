"""Requests on their way in: each is looked at by the engine before it may wait for its turn.

What is wrong with a request is found here, and is an answer to it alone: that it is suspected, that there is no room
for it, or that the engine fails at it. For the engine thread alone, once the model is loaded.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Container
from concurrent.futures import Future
from itertools import count
from typing import Any, TypeVar

from localai_flask.backends.base import Backend, Inquiry, Job
from localai_flask.errors import ApiError, InvalidRequest
from localai_flask.generation import Failed, ModelInfo
from localai_flask.inquiry import Fact
from localai_flask.machine import release_freed_memory
from localai_flask.pool.channel import Channel
from localai_flask.pool.in_hand import InHand, Mark
from localai_flask.pool.messages import Answer, Ask, Generate, Taken
from localai_flask.pool.worker.requests import compiling
from localai_flask.pool.worker.requests.activity import Activity
from localai_flask.pool.worker.requests.front import Front, Publish
from localai_flask.pool.worker.requests.requests import Request, own_error
from localai_flask.pool.worker.requests.suspects import check_suspect

log = logging.getLogger(__name__)

T = TypeVar("T")


class Intake:
    """Carries out what web workers ask for; `suspects` returns the digests of what is not taken.

    `later` has the engine thread carry out a command; it is called from other threads.
    """

    def __init__(
        self,
        backend: Backend,
        info: ModelInfo,
        front: Front,
        publish: Publish,
        in_hand: InHand,
        activity: Activity,
        suspects: Callable[[], Container[bytes]],
        later: Callable[[Command], None],
    ):
        self._backend = backend
        self._info = info
        self._front = front
        self._publish = publish
        self._in_hand = in_hand
        self._activity = activity
        self._suspects = suspects
        self._later = later
        self._ids = count(1)

    def submit(self, channel: Channel, request_id: int, command: Generate, arrived: float) -> None:
        """Take in a job."""
        self._activity.take()
        job = Job(next(self._ids), command.prompt, command.sampling, arrived, caller=command.terms.caller)
        request = Request(job, (channel, request_id), command.terms, Mark.of(command), arrived)
        try:
            self._front.check_limit(command.terms.limits)
            self._front.check_room(command.terms.limits, self._backend.room)
            check_suspect(self._front.name, request.mark, self._suspects())
            self._publish(channel, [(request_id, Taken())])
            request.is_ready = self._have_looked_at(request.mark, lambda: self._look_at(request, job))
        except ApiError as error:
            self._publish(channel, [(request_id, Failed(error.info))])
            return
        self._front.add(request)

    def _look_at(self, request: Request, job: Job) -> bool:
        """Have the engine prepare a job; return whether it did at once, or needs what another thread makes first."""
        self._backend.takes.check(job.prompt, job.sampling, self._info.backend)
        ahead = self._backend.compile_ahead(job)
        if ahead is not None and not compiling.ends_soon(ahead, is_idle=self._backend.is_idle):
            look = functools.partial(self._backend.prepare, job)
            # Images and files take as long as they take: the request's own deadline ends that.
            compiling.call_when_made(
                *(ahead, lambda made: self._later(lambda _: self._end_look(request, made, look))),
                is_limited=not (job.prompt.images or job.sampling.adapters),
            )
            return False
        if ahead is not None:
            ahead.result()
        self._backend.prepare(job)
        return True

    def _end_look(self, request: Request, made: Future[Any], look: Callable[[], Fact | None]) -> None:
        """Let a request start for which all is made, unless that failed, or the look at it returns its answer.

        What ended meanwhile is no error.
        """
        if not self._front.holds(request) or request.is_ready:
            return
        answer: Answer | None
        try:
            self._have_looked_at(request.mark, made.result)
            answer = self._have_looked_at(request.mark, look)
        except ApiError as error:
            answer = Failed(error.info)
        if answer is None:
            self._front.make_ready(request)
        else:
            self._front.cancel(request, self._backend)
            self._publish(request.route[0], [(request.route[1], answer)])

    def ask(self, channel: Channel, asked: list[tuple[int, Ask]], arrived: float) -> None:
        """Take in the questions of one group, which count as one request."""
        answers: list[tuple[int, Answer]] = []
        group = None
        self._activity.take()
        self._publish(channel, [(request_id, Taken()) for request_id, _ in asked])
        for request_id, command in asked:
            inquiry = Inquiry(next(self._ids), command.question)
            request = Request(inquiry, (channel, request_id), command.terms, Mark.of(command), arrived)
            try:
                if group is None:
                    self._front.check_limit(command.terms.limits)
                check_suspect(self._front.name, request.mark, self._suspects())
                answer = self._have_looked_at(request.mark, functools.partial(self._look_at_question, request, inquiry))
                if answer is None and group is None:
                    self._front.check_inquiry_room(command.terms.limits)
            except ApiError as error:
                answers.append((request_id, Failed(error.info)))
                continue
            inquiry.group = group = group or inquiry.id
            if answer is not None:
                answers.append((request_id, answer))
            else:
                self._front.add(request)
        if answers:
            self._publish(channel, answers)

    def _look_at_question(self, request: Request, inquiry: Inquiry) -> Fact | None:
        """Return the answer to a question that needs no computing; None if it waits for its turn, or another thread."""
        capability = inquiry.question.capability
        if capability not in self._info.capabilities:
            raise InvalidRequest(f"The model {self._front.name!r} does not {capability}.", param="model")
        ask = functools.partial(self._backend.ask, inquiry)
        ahead = self._backend.ask_ahead(inquiry)
        if ahead is not None and not compiling.ends_soon(ahead, is_idle=self._backend.is_idle):
            request.is_ready = False
            ahead.add_done_callback(lambda made: self._later(lambda _: self._end_look(request, made, ask)))
            return None
        if ahead is not None:
            ahead.result()
        return ask()

    def _have_looked_at(self, mark: Mark, look: Callable[[], T]) -> T:
        """Let the engine look at one request, whose own error any exception is, so that no other ends with it.

        Should the process die of it, the client has been told that it was taken, and the manager finds it in hand.
        """
        self._in_hand.begin(mark)
        try:
            return look()
        except ApiError:
            raise
        except BaseException as error:  # also what compiled code raises beside Exception, as pyo3's panics
            raise own_error(error, self._front.name) from error
        finally:
            self._in_hand.drop()

    def cancel(self, channel: Channel, request_id: int) -> None:
        """End a request that its client wants no more."""
        self._activity.bring()
        if self._front.cancel_at(channel, request_id, self._backend):
            log.debug("request %d was cancelled", request_id)

    def end_thinking(self, channel: Channel, request_id: int) -> None:
        """Have what a request's model thinks end with the next token."""
        request = self._front.find_at(channel, request_id)
        if request is not None and isinstance(request.work, Job):
            request.work.ends_thinking = True

    def give_back(self, size: int) -> None:
        """Have the engine free memory for another model."""
        self._backend.give_back(size)
        release_freed_memory()

    def forget(self, channel: Channel) -> None:
        """End everything that came over a channel which is gone."""
        self._front.cancel_all(channel, self._backend)


Command = Callable[[Intake], None]
"""What the engine thread carries out between two steps."""
