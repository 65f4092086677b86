"""The one thread that touches the engine: loads the model, takes commands between steps, hands out what a step made."""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import Any, TypeVar

from localai_flask.backends import create
from localai_flask.backends.base import Backend, Event, Inquiry, Job
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError, InvalidRequest, RemoteLost
from localai_flask.generation import Failed, ModelInfo
from localai_flask.inquiry import Fact
from localai_flask.pool.channel import Channel
from localai_flask.pool.in_hand import InHand, Mark
from localai_flask.pool.messages import Answer, Ask, Generate, Taken
from localai_flask.pool.worker import compiling
from localai_flask.pool.worker.activity import Activity
from localai_flask.pool.worker.front import Front, Publish
from localai_flask.pool.worker.loading import Loading
from localai_flask.pool.worker.requests import Request
from localai_flask.pool.worker.suspects import check_suspect

log = logging.getLogger(__name__)

NOTICE_S = 0.1
"""How long a look at an engine that runs by itself may be put off: deadlines are seen so late, and a loop that died."""

T = TypeVar("T")


class EngineThread(threading.Thread):
    """Owns the backend; every other thread only puts commands into its inbox or reads plain attributes."""

    def __init__(
        self,
        config: EngineConfig,
        publish: Publish,
        wake_main: Callable[[], None],
        in_hand: InHand,
        queue_size: Callable[[], int],
        *,
        is_cautious: bool = False,
    ):
        super().__init__(name="engine", daemon=True)
        self.config = config
        self.is_cautious = is_cautious
        self.publish = publish
        self.wake_main = wake_main
        self.when_ready: Callable[[], None] = lambda: None
        """Called between the load and the first request."""
        self.broke = False
        """Whether a step raised, after which the engine's state is unknown."""
        self.load_counts = (0, 0)
        self.activity = Activity()
        self.busy_since: float | None = None
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._has_notice = False
        self._ids = count(1)
        self._in_hand = in_hand
        self._front = Front(config.name, queue_size, publish, in_hand)
        self._suspects: frozenset[bytes] = frozenset()
        self._loading = Loading(config)
        self._backend: Backend | None = None

    # Any thread.

    @property
    def info(self) -> ModelInfo | None:
        return self._loading.info

    @property
    def error(self) -> ApiError | None:
        """Why the model could not be loaded."""
        return self._loading.error

    @property
    def progress(self) -> float:
        return self._loading.progress

    @property
    def silent_s(self) -> float:
        """Seconds that the current step or command has lasted; 0 when idle."""
        since = self.busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def load_s(self) -> float:
        """How long the load took, once there is an `info`."""
        return self._loading.seconds

    @property
    def kv_usage(self) -> float | None:
        """The share of the KV cache that running requests hold; None if the engine does not know it."""
        return None if self.info is None or self._backend is None else self._backend.kv_usage

    @property
    def is_idle(self) -> bool:
        return not len(self._front) and self._inbox.empty()

    @property
    def can_stop(self) -> bool:
        """Whether `stop` is worth waiting for: the engine neither loads nor sits in a step."""
        return self.info is not None and self.busy_since is None

    def suspect(self, digests: list[bytes]) -> None:
        """Run none of the requests, and none of the callers', with these digests any more."""
        self._suspects = frozenset(digests)

    def submit(self, channel: Channel, request_id: int, command: Generate) -> None:
        arrived = time.monotonic()
        self._inbox.put(lambda: self._submit(channel, request_id, command, arrived))

    def ask(self, channel: Channel, asked: list[tuple[int, Ask]]) -> None:
        arrived = time.monotonic()
        self._inbox.put(lambda: self._ask(channel, asked, arrived))

    def cancel(self, channel: Channel, request_id: int) -> None:
        self._inbox.put(lambda: self._cancel(channel, request_id))

    def forget(self, channel: Channel) -> None:
        """Cancel everything that came over a channel which is gone."""
        self._inbox.put(lambda: self._forget(channel))

    def stop(self, timeout_s: float) -> None:
        """Ask the loop to end and wait for it."""
        self._inbox.put(None)
        self.join(timeout_s)

    # The engine thread itself.

    def run(self) -> None:
        try:
            if self._load():
                self.when_ready()
                self._loop()
        except BaseException:  # also what compiled code raises beside Exception, as pyo3's panics
            log.exception(
                "the engine of model %s broke; its requests are lost and the worker is replaced", self.config.name
            )
            self.broke = True
        self.wake_main()

    def _load(self) -> bool:
        try:
            self._backend = backend = create(self.config.backend)
        except ApiError as error:
            self._loading.fail(error)
            return False
        backend.last_words = self._tell_all
        backend.announce = self._hand_out
        backend.notify = self._notice
        backend.is_cautious = self.is_cautious
        return self._loading.load(backend)

    def _tell_all(self, error: ApiError) -> None:
        """Inform every request why this process is about to end; called while the engine thread sits in a C call."""
        if isinstance(error, RemoteLost):
            self._in_hand.clear()
        for channel, request_id in self._front.routes():
            self.publish(channel, [(request_id, Failed(error.info))])

    def _loop(self) -> None:
        backend, front = self._backend, self._front
        assert backend is not None
        while self._take_commands(self._patience(backend)):
            self.busy_since = time.monotonic()
            front.expire(backend)
            front.start(backend)
            self._hand_out(backend.step())
            self.busy_since = None
            front.tell_waiting()
            self.load_counts = front.counts
        backend.close()

    def _hand_out(self, events: list[Event]) -> None:
        if events:
            self.activity.bring()
            self._front.hand_out(events)

    def _patience(self, backend: Backend) -> float | None:
        """Return for how many seconds to wait for a command before the next step; None: until one comes."""
        has_waiting = self._front.has_waiting
        if backend.is_idle and not has_waiting:
            return compiling.CHECK_S if self._front.has_unready else None
        return NOTICE_S if backend.runs_by_itself and not (has_waiting and backend.room > 0) else 0.0

    def _notice(self) -> None:
        """Have the engine stepped soon; called from any thread, and often."""
        if not self._has_notice:
            self._has_notice = True
            self._inbox.put(self._forget_notice)

    def _forget_notice(self) -> None:
        self._has_notice = False  # what comes from here on is collected by the next step, or notified again

    def _take_commands(self, patience_s: float | None) -> bool:
        """Carry out what has arrived, waiting for the first as long as that; False when told to stop."""
        try:
            command = self._inbox.get(block=patience_s != 0, timeout=patience_s)
            while command is not None:
                self.busy_since = time.monotonic()
                command()
                command = self._inbox.get_nowait()
        except queue.Empty:
            return True
        finally:
            self.busy_since = None
        return False

    def _submit(self, channel: Channel, request_id: int, command: Generate, arrived: float) -> None:
        backend = self._backend
        assert backend is not None
        self.activity.take()
        job = Job(next(self._ids), command.prompt, command.sampling, arrived)
        request = Request(job, (channel, request_id), command.terms, Mark.of(command), arrived)
        try:
            self._front.check_limit(command.terms.limits)
            self._front.check_room(command.terms.limits, backend.room)
            check_suspect(self.config.name, request.mark, self._suspects)
            self.publish(channel, [(request_id, Taken())])
            request.is_ready = self._have_looked_at(request.mark, lambda: self._look_at(request))
        except ApiError as error:
            self.publish(channel, [(request_id, Failed(error.info))])
            return
        self._front.add(request)

    def _look_at(self, request: Request) -> bool:
        """Have the engine prepare a job; return whether it did at once, or needs what another thread makes first."""
        backend, job = self._backend, request.work
        assert backend is not None and isinstance(job, Job)
        ahead = backend.compile_ahead(job)
        if ahead is not None and not compiling.ends_soon(ahead):
            compiling.call_when_made(ahead, lambda made: self._inbox.put(lambda: self._end_look(request, made)))
            return False
        if ahead is not None:
            ahead.result()
        backend.prepare(job)
        return True

    def _end_look(self, request: Request, made: Future[Any]) -> None:
        """Let a request start for which all is made, or end it if that failed; what ended meanwhile is no error."""
        backend, front = self._backend, self._front
        assert backend is not None and isinstance(request.work, Job)
        if not front.holds(request) or request.is_ready:
            return
        try:
            self._have_looked_at(request.mark, made.result)
            self._have_looked_at(request.mark, functools.partial(backend.prepare, request.work))
        except ApiError as error:
            front.cancel(request, backend)
            self.publish(request.route[0], [(request.route[1], Failed(error.info))])
        else:
            front.make_ready(request)

    def _ask(self, channel: Channel, asked: list[tuple[int, Ask]], arrived: float) -> None:
        """Take in the questions of one group, which count as one request."""
        answers: list[tuple[int, Answer]] = []
        group = None
        self.activity.take()
        self.publish(channel, [(request_id, Taken()) for request_id, _ in asked])
        for request_id, command in asked:
            inquiry = Inquiry(next(self._ids), command.question)
            request = Request(inquiry, (channel, request_id), command.terms, Mark.of(command), arrived)
            try:
                if group is None:
                    self._front.check_limit(command.terms.limits)
                check_suspect(self.config.name, request.mark, self._suspects)
                answer = self._have_looked_at(request.mark, functools.partial(self._answer, inquiry))
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
            self.publish(channel, answers)

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
            log.exception("the engine of model %s could not take a request", self.config.name)
            raise ApiError(f"The engine failed at this request ({type(error).__name__}); see the log.") from error
        finally:
            self._in_hand.drop()

    def _answer(self, inquiry: Inquiry) -> Fact | None:
        assert self._backend is not None and self.info is not None
        capability = inquiry.question.capability
        if capability not in self.info.capabilities:
            raise InvalidRequest(f"The model {self.config.name!r} does not {capability}.", param="model")
        return self._backend.ask(inquiry)

    def _cancel(self, channel: Channel, request_id: int) -> None:
        self.activity.bring()
        if self._backend is not None and self._front.cancel_at(channel, request_id, self._backend):
            log.debug("request %d was cancelled", request_id)

    def _forget(self, channel: Channel) -> None:
        if self._backend is not None:
            self._front.cancel_all(channel, self._backend)
