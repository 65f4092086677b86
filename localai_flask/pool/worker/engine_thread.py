"""The one thread that touches the engine: loads the model, takes commands between steps, hands out what a step made."""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from localai_flask.backends import create
from localai_flask.backends.base import Backend, Event, Inquiry, Job
from localai_flask.config.model import EngineConfig, Limits
from localai_flask.errors import ApiError, InvalidRequest, OutOfMemory, Overloaded, RemoteLost, SuspectedRequest
from localai_flask.gallery.files import fetch_files
from localai_flask.gallery.progress import Progress
from localai_flask.generation import Failed, ModelInfo
from localai_flask.inquiry import Fact
from localai_flask.pool.channel import Channel
from localai_flask.pool.in_hand import InHand, digest_of
from localai_flask.pool.messages import NOT_LAST, Answer, Ask, Generate, Queued, Taken
from localai_flask.pool.worker.activity import Activity
from localai_flask.pool.worker.requests import Requests

log = logging.getLogger(__name__)

FETCHING_SHARE = 0.9
"""How much of the progress is the download, where a model has to be fetched before it can be loaded."""
TELL_PROGRESS_S = 5.0
"""Seconds between two lines of the log on a download."""

T = TypeVar("T")
Publish = Callable[[Channel, list[tuple[int, Answer]]], None]


class EngineThread(threading.Thread):
    """Owns the backend; every other thread only puts commands into its inbox or reads plain attributes."""

    def __init__(
        self,
        config: EngineConfig,
        publish: Publish,
        wake_main: Callable[[], None],
        in_hand: InHand,
        *,
        is_cautious: bool = False,
    ):
        super().__init__(name="engine", daemon=True)
        self.config = config
        self.is_cautious = is_cautious
        self.publish = publish
        self.wake_main = wake_main
        self.info: ModelInfo | None = None
        self.error: ApiError | None = None
        """Why the model could not be loaded."""
        self.when_ready: Callable[[], None] = lambda: None
        """Called between the load and the first request."""
        self.broke = False
        """Whether a step raised, after which the engine's state is unknown."""
        self.progress = 0.0
        self.load_s = 0.0
        """How long the load took, once there is an `info`."""
        self.load_counts = (0, 0)
        self.activity = Activity()
        self.busy_since: float | None = None
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ids = count(1)
        self._in_hand = in_hand
        self._requests = Requests(in_hand)
        self._suspects: frozenset[bytes] = frozenset()
        self._unanswered: defaultdict[Channel, set[int]] = defaultdict(set)
        """Requests that the engine has taken since the last step."""
        self._backend: Backend | None = None
        self._told_progress = -float("inf")

    # Any thread.

    @property
    def silent_s(self) -> float:
        """Seconds that the current step or command has lasted; 0 when idle."""
        since = self.busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def kv_usage(self) -> float | None:
        """The share of the KV cache that running requests hold; None if the engine does not know it."""
        return None if self.info is None or self._backend is None else self._backend.kv_usage

    @property
    def is_idle(self) -> bool:
        return not len(self._requests) and self._inbox.empty()

    @property
    def can_stop(self) -> bool:
        """Whether `stop` is worth waiting for: the engine neither loads nor sits in a step."""
        return self.info is not None and self.busy_since is None

    def suspect(self, digests: list[bytes]) -> None:
        """Run none of the requests with these digests any more."""
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
        begun = time.monotonic()
        try:
            self._backend = create(self.config.backend)
            self._backend.last_words = self._tell_all
            self._backend.announce = self._hand_out
            self._backend.is_cautious = self.is_cautious
            fetched = fetch_files(self.config, self._fetched_so_far)
            info = self._backend.load(self.config, self._loaded_behind if fetched else self._loaded_so_far)
        except ApiError as error:
            self.error = error
        except MemoryError:
            self.error = OutOfMemory(
                f"Model {self.config.name} does not fit into memory; use a smaller model or context_size."
            )
        else:
            self.load_s = time.monotonic() - begun
            self.progress, self.info = 1.0, info
            log.info("model %s is ready after %.1f s", self.config.name, self.load_s)
            if info.given_up:
                log.warning("model %s runs without %s", self.config.name, info.given_up)
            return True
        log.error("cannot load model %s: %s", self.config.name, self.error)
        return False

    def _tell_all(self, error: ApiError) -> None:
        """Tell every request why this process is about to end; called while the engine thread sits in a C call."""
        if isinstance(error, RemoteLost):
            self._in_hand.clear()
        for channel, request_id in self._requests.routes():
            self.publish(channel, [(request_id, Failed(error.info))])

    def _loaded_so_far(self, fraction: float) -> None:
        self.progress = min(fraction, 0.99)

    def _fetched_so_far(self, progress: Progress) -> None:
        self._loaded_so_far(progress.fraction * FETCHING_SHARE)
        now = time.monotonic()
        if now - self._told_progress >= TELL_PROGRESS_S:
            self._told_progress = now
            log.info("fetching model %s: %s", self.config.name, progress)

    def _loaded_behind(self, fraction: float) -> None:
        """Take the progress of a load whose model had to be fetched first."""
        self._loaded_so_far(FETCHING_SHARE + (1 - FETCHING_SHARE) * fraction)

    def _loop(self) -> None:
        backend = self._backend
        assert backend is not None
        while self._take_commands(wait=backend.is_idle):
            self.busy_since = time.monotonic()
            self._hand_out(backend.step())
            self.busy_since = None
            self._tell_queued()
            self.load_counts = backend.load_counts
        backend.close()

    def _take_commands(self, wait: bool) -> bool:
        """Carry out what has arrived, waiting for the first if there is nothing to step; False when told to stop."""
        try:
            command = self._inbox.get(block=wait)
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
        assert self._backend is not None
        deadline = None if command.timeout_s is None else arrived + command.timeout_s
        job = Job(next(self._ids), command.prompt, command.sampling, deadline, arrived)
        backend, digest = self._backend, digest_of(command)
        self.activity.take()
        try:
            self._check_limit(command.limits)
            self._check_suspect(digest)
            self.publish(channel, [(request_id, Taken())])
            self._have_taken(digest, lambda: backend.submit(job))
        except ApiError as error:
            self.publish(channel, [(request_id, Failed(error.info))])
            return
        self._requests.add(job.id, (channel, request_id), digest)
        self._unanswered[channel].add(request_id)

    def _ask(self, channel: Channel, asked: list[tuple[int, Ask]], arrived: float) -> None:
        """Take in the questions of one group, which count as one request."""
        answers: list[tuple[int, Answer]] = []
        group = None
        self.activity.take()
        self.publish(channel, [(request_id, Taken()) for request_id, _ in asked])
        for request_id, command in asked:
            deadline = None if command.timeout_s is None else arrived + command.timeout_s
            inquiry = Inquiry(next(self._ids), command.question, deadline)
            digest = digest_of(command)
            try:
                if group is None:
                    self._check_limit(command.limits)
                self._check_suspect(digest)
                inquiry.group = group = group or inquiry.id
                answer = self._have_taken(digest, functools.partial(self._answer, inquiry))
            except ApiError as error:
                answers.append((request_id, Failed(error.info)))
                continue
            if answer is not None:
                answers.append((request_id, answer))
                continue
            self._requests.add(inquiry.id, (channel, request_id), digest, group)
            self._unanswered[channel].add(request_id)
        if answers:
            self.publish(channel, answers)

    def _check_suspect(self, digest: bytes) -> None:
        if digest in self._suspects:
            raise SuspectedRequest(
                f"The worker of model {self.config.name} died when it last ran this request alone, so it is not run "
                "again for some minutes; change the request, and report this with the server's log."
            )

    def _have_taken(self, digest: bytes, take: Callable[[], T]) -> T:
        """Let the engine take one request, whose own error any exception is, so that no other ends with it.

        Should the process die of it, the client has been told that it was taken, and the manager finds it in hand.
        """
        self._in_hand.begin(digest)
        try:
            return take()
        except ApiError:
            raise
        except BaseException as error:  # also what compiled code raises beside Exception, as pyo3's panics
            log.exception("the engine of model %s could not take a request", self.config.name)
            raise ApiError(f"The engine failed at this request ({type(error).__name__}); see the log.") from error
        finally:
            self._in_hand.drop()

    def _tell_queued(self) -> None:
        """Tell the requests that have waited for a whole step that another worker may have them."""
        for channel, request_ids in self._unanswered.items():
            if request_ids:
                self.publish(channel, [(request_id, Queued()) for request_id in request_ids])
        self._unanswered.clear()

    def _answer(self, inquiry: Inquiry) -> Fact | None:
        assert self._backend is not None and self.info is not None
        capability = inquiry.question.capability
        if capability not in self.info.capabilities:
            raise InvalidRequest(f"The model {self.config.name!r} does not {capability}.", param="model")
        return self._backend.ask(inquiry)

    def _check_limit(self, limits: Limits) -> None:
        """Refuse a request beyond the model's `limits.max_concurrent`, which counts running and waiting ones alike."""
        if not limits.max_concurrent:
            return
        if len(self._requests) >= limits.max_concurrent:
            raise Overloaded(
                f"Model {self.config.name} takes {limits.max_concurrent} requests at once, and has them; try again.",
                retry_after=float(limits.retry_after_seconds),
            )

    def _cancel(self, channel: Channel, request_id: int) -> None:
        job_id = self._requests.withdraw((channel, request_id))
        self.activity.bring()
        if job_id is not None and self._backend is not None:
            self._backend.cancel(job_id)
            log.debug("request %d was cancelled", request_id)

    def _forget(self, channel: Channel) -> None:
        for owner, request_id in self._requests.of_channel(channel):
            self._cancel(owner, request_id)

    def _hand_out(self, events: list[Event]) -> None:
        if events:
            self.activity.bring()
        batches: dict[Channel, list[tuple[int, Answer]]] = defaultdict(list)
        for job_id, reply in events:
            route = self._requests.route(job_id)
            if route is None:
                continue
            if not isinstance(reply, NOT_LAST):
                self._requests.end(job_id)
            self._unanswered[route[0]].discard(route[1])
            batches[route[0]].append((route[1], reply))
        for channel, answers in batches.items():
            self.publish(channel, answers)
