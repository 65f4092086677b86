"""The one thread that touches the engine: loads the model, takes commands between steps, hands out what a step made.

What it does with each command is the intake's.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable

from localai_flask.backends import create
from localai_flask.backends.base import Backend, Event
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError, RemoteLost
from localai_flask.generation import Failed, ModelInfo
from localai_flask.pool.channel import Channel
from localai_flask.pool.in_hand import InHand
from localai_flask.pool.messages import Ask, Generate
from localai_flask.pool.protocol import Coming
from localai_flask.pool.worker.engine.loading import Loading
from localai_flask.pool.worker.requests import compiling
from localai_flask.pool.worker.requests.activity import Activity
from localai_flask.pool.worker.requests.front import Front, Publish
from localai_flask.pool.worker.requests.intake import Command, Intake

log = logging.getLogger(__name__)

NOTICE_S = 0.1
"""How long a look at an engine that runs by itself may be put off: deadlines are seen so late, and a loop that died."""


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
        stream_interval_s: Callable[[], float] = lambda: 0.0,
        is_cautious: bool = False,
        is_prepared: bool = False,
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
        self._inbox: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._has_notice = False
        self._in_hand = in_hand
        self._front = Front(config.name, queue_size, publish, in_hand, stream_interval_s)
        self._suspects: frozenset[bytes] = frozenset()
        self._loading = Loading(config, is_prepared=is_prepared)
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
    def coming(self) -> Coming:
        """What is being fetched before the load."""
        return self._loading.coming

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
    def spare_bytes(self) -> int:
        """How much memory holds what is kept for later only."""
        return 0 if self.info is None or self._backend is None else self._backend.spare_bytes

    @property
    def reserved_bytes(self) -> int:
        """How much memory it has not used yet and will."""
        return 0 if self.info is None or self._backend is None else self._backend.reserved_bytes

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
        self._inbox.put(lambda intake: intake.submit(channel, request_id, command, arrived))

    def ask(self, channel: Channel, asked: list[tuple[int, Ask]]) -> None:
        arrived = time.monotonic()
        self._inbox.put(lambda intake: intake.ask(channel, asked, arrived))

    def cancel(self, channel: Channel, request_id: int) -> None:
        self._inbox.put(lambda intake: intake.cancel(channel, request_id))

    def end_thinking(self, channel: Channel, request_id: int) -> None:
        self._inbox.put(lambda intake: intake.end_thinking(channel, request_id))

    def forget(self, channel: Channel) -> None:
        """Cancel everything that came over a channel which is gone."""
        self._inbox.put(lambda intake: intake.forget(channel))

    def give_back(self, size: int) -> None:
        """Free about as much of what is kept for later only, if there is that much."""
        if self.spare_bytes:
            self._inbox.put(lambda intake: intake.give_back(size))

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
        self._backend = backend = self._loading.make(lambda: create(self.config.backend))
        if backend is None:
            return False
        backend.last_words = self._tell_all
        backend.announce = functools.partial(self._hand_out, everything=True)
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
        backend, front, info = self._backend, self._front, self.info
        assert backend is not None and info is not None
        intake = Intake(
            backend, info, front, self.publish, self._in_hand, self.activity, lambda: self._suspects, self._inbox.put
        )
        while self._take_commands(intake, self._patience(backend)):
            self.busy_since = time.monotonic()
            front.expire(backend)
            front.start(backend)
            self._hand_out(backend.step())
            self.busy_since = None
            front.tell_waiting()
            self.load_counts = front.counts
        backend.close()

    def _hand_out(self, events: list[Event], *, everything: bool = False) -> None:
        if events:
            self.activity.bring()
        if events or self._front.text_patience_s is not None:
            self._front.hand_out(events, everything=everything)

    def _patience(self, backend: Backend) -> float | None:
        """Return for how many seconds to wait for a command before the next step; None: until one comes."""
        has_waiting = self._front.has_waiting
        if backend.is_idle and not has_waiting:
            return compiling.CHECK_S if self._front.has_unready else backend.rest_s
        if not backend.runs_by_itself or (has_waiting and backend.room > 0):
            return 0.0
        held = self._front.text_patience_s
        return NOTICE_S if held is None else min(NOTICE_S, held)

    def _notice(self) -> None:
        """Have the engine stepped soon; called from any thread, and often."""
        if not self._has_notice:
            self._has_notice = True
            self._inbox.put(self._forget_notice)

    def _forget_notice(self, _: Intake) -> None:
        self._has_notice = False  # what comes from here on is collected by the next step, or notified again

    def _take_commands(self, intake: Intake, patience_s: float | None) -> bool:
        """Carry out what has arrived, waiting for the first as long as that; return False if the loop is to end."""
        try:
            command = self._inbox.get(block=patience_s != 0, timeout=patience_s)
            while command is not None:
                self.busy_since = time.monotonic()
                command(intake)
                command = self._inbox.get_nowait()
        except queue.Empty:
            return True
        finally:
            self.busy_since = None
        return False
