"""The pool as web workers see it: what models there are, whether they answer, and sessions of work with one.

One `PoolClient` per web worker process, made after the fork.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from localai_flask.config.folder.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import Unavailable
from localai_flask.generation import ModelInfo
from localai_flask.pool.channel import ChannelGone
from localai_flask.pool.client.directory import DirectoryThread
from localai_flask.pool.client.inbox import BEAT_S, Inbox
from localai_flask.pool.client.session import MANAGER_ABSENCE_S, Session
from localai_flask.pool.client.worker_links import WorkerLinks
from localai_flask.pool.messages import Ping, Pong
from localai_flask.pool.protocol import ModelState, ModelStatus, PoolReport, WorkerAddress
from localai_flask.pool.proxy import PoolProxy, connect
from localai_flask.pool.runtime import Runtime

T = TypeVar("T")
ENGINE_STALL_S = 60.0
"""How long one step of an engine may last before the model no longer counts as ready."""
PUBLIC_STATES = {
    ModelState.ABSENT: "cold",
    ModelState.LOADING: "loading",
    ModelState.READY: "ready",
    ModelState.DRAINING: "unloading",
    ModelState.FAILED: "failed",
    ModelState.COOLING: "failed",
}
"""The words that clients of the server see."""


class PoolClient:
    """One web worker's door to all models."""

    def __init__(self, runtime: Runtime, last_look: Callable[[ModelConfig], Look] = lambda config: _look_now()):
        """`last_look` returns when the models folder last showed a model as it is asked for."""
        self._runtime = runtime
        self._last_look = last_look
        self._start = threading.Lock()
        self._threads: tuple[DirectoryThread, WorkerLinks] | None = None

    def _started(self) -> tuple[DirectoryThread, WorkerLinks]:
        with self._start:
            if self._threads is None:
                self._threads = DirectoryThread(self._runtime), WorkerLinks()
                for thread in self._threads:
                    thread.start()
            return self._threads

    def session(self, config: ModelConfig) -> Session:
        """Begin to work with a model; nothing is loaded or waited for yet."""
        return Session(config, *self._started(), self._last_look)

    def is_loaded(self, config: ModelConfig) -> bool:
        """Return whether a worker has this model, as far as is known here."""
        status = self._started()[0].status(config.key)
        return status is not None and status.info is not None

    def states(self, patience_s: float = 1.0) -> dict[str, str]:
        """Return the state of every model that was ever asked for: cold, loading, ready, unloading or failed.

        A manager that has not answered for long gets that time to do so; then what was last known is returned.
        """
        directory, _ = self._started()
        if directory.age_s > MANAGER_ABSENCE_S:
            directory.await_answer(patience_s)
        return {name: PUBLIC_STATES[status.state] for name, status in self._by_name().items()}

    def load_progress(self) -> dict[str, float]:
        """Return how far the loading of models is (0 to 1), by name."""
        loading = ((name, each) for name, each in self._by_name().items() if each.state is ModelState.LOADING)
        return {name: status.progress for name, status in loading}

    def infos(self) -> dict[str, ModelInfo]:
        """Return what is known of the models that are loaded, by name."""
        directory, _ = self._started()
        return {status.name: status.info for status in directory.statuses().values() if status.info is not None}

    def room(self, name: str, queue_size: int) -> int | None:
        """Return how many requests a model takes, running and waiting; None if that is not known here."""
        status = self._by_name().get(name)
        if status is None or status.info is None or not status.info.slots:
            return None
        return len(status.workers) * (queue_size + status.info.slots)

    def _by_name(self) -> dict[str, ModelStatus]:
        """Return what is known of each model in the form that counts, which comes last."""
        directory, _ = self._started()
        return {status.name: status for status in directory.statuses().values()}

    def report(self) -> PoolReport:
        """Return what an operator may want to know; raise `Unavailable` if the manager does not answer."""
        return self._ask_manager(lambda manager: manager.describe())

    def unload(self, name: str, *, by_force: bool) -> bool:
        """Let a model's workers leave, by force at once; return whether it had any.

        Raises `Unavailable` if the manager does not answer.
        """
        return self._ask_manager(lambda manager: manager.unload(name, by_force=by_force))

    def _ask_manager(self, ask: Callable[[PoolProxy], T]) -> T:
        try:
            return ask(connect(self._runtime))
        except (OSError, EOFError) as error:
            raise Unavailable("The pool manager does not answer; it is being restarted, so try again.") from error

    def check(self, timeout: float) -> None:
        """Make a round trip through the manager and every model that must be ready.

        Raises `Unavailable` naming what does not answer.
        """
        deadline = time.monotonic() + timeout
        directory, _ = self._started()
        if directory.age_s > 2 * BEAT_S:
            directory.await_answer(timeout)
        if directory.age_s > 2 * BEAT_S:
            raise Unavailable("The pool manager does not answer; it is being restarted.")
        try:
            self._ask_required(deadline)
        except Unavailable:
            answers = directory.answers
            directory.await_answer(deadline - time.monotonic())
            if directory.answers == answers:
                raise
            self._ask_required(deadline)  # what did not answer may have left on purpose since the manager told of it

    def _ask_required(self, deadline: float) -> None:
        directory, links = self._started()
        inbox = Inbox()
        asked = [each for status in directory.statuses().values() if status.required for each in _workers(status)]
        for tag, (status, worker) in enumerate(asked):
            _ping(status, worker, links, inbox, tag)
        silent = dict(enumerate(asked))
        while silent:
            try:
                tag, answer = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                names = ", ".join(sorted({status.name for status, _ in silent.values()}))
                raise Unavailable(f"The worker of model {names} does not answer.") from None
            status, _ = silent.pop(tag)
            if not isinstance(answer, Pong) or answer.engine_silent_s > ENGINE_STALL_S:
                raise Unavailable(f"The engine of model {status.name} does not answer.")


def _look_now() -> Look:
    now = time.monotonic()
    return Look(now, now)


def _workers(status: ModelStatus) -> list[tuple[ModelStatus, WorkerAddress]]:
    """Return the workers of a model, with its status; raise `Unavailable` if there are none."""
    if not status.workers:
        why = status.error.message if status.error else "it is loading"
        raise Unavailable(f"Model {status.name} is not ready: {why}")
    return [(status, worker) for worker in status.workers]


def _ping(status: ModelStatus, worker: WorkerAddress, links: WorkerLinks, inbox: Inbox, tag: int) -> None:
    """Ask a worker whether it lives; raise `Unavailable` if it is known not to."""
    try:
        links.to(worker).send(Ping(), inbox, tag)
    except ChannelGone as error:
        raise Unavailable(f"The worker of model {status.name} has just ended; it is being restarted.") from error
