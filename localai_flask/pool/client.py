"""The pool as web workers see it: what models there are, whether they answer, and sessions of work with one.

One `PoolClient` per web worker process, made after the fork.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from localai_flask.config.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import Unavailable
from localai_flask.generation import ModelInfo
from localai_flask.pool.channel import ChannelGone
from localai_flask.pool.directory import DirectoryThread
from localai_flask.pool.inbox import Inbox
from localai_flask.pool.links import Links
from localai_flask.pool.messages import Ping, Pong
from localai_flask.pool.protocol import Lease, WorkerAddress
from localai_flask.pool.runtime import Runtime
from localai_flask.pool.session import BEAT_S, MANAGER_ABSENCE_S, Session

ENGINE_STALL_S = 60.0
"""How long one step of an engine may last before the model no longer counts as ready."""


class PoolClient:
    """One web worker's door to all models."""

    def __init__(self, runtime: Runtime, last_look: Callable[[ModelConfig], Look] = lambda config: _look_now()):
        """`last_look` returns when the models folder last showed a model as it is asked for."""
        self._runtime = runtime
        self._last_look = last_look
        self._start = threading.Lock()
        self._threads: tuple[DirectoryThread, Links] | None = None

    def _started(self) -> tuple[DirectoryThread, Links]:
        with self._start:
            if self._threads is None:
                self._threads = DirectoryThread(self._runtime), Links()
                for thread in self._threads:
                    thread.start()
            return self._threads

    def session(self, config: ModelConfig) -> Session:
        """Begin to work with a model; nothing is loaded or waited for yet."""
        return Session(config, *self._started(), self._last_look)

    def is_loaded(self, config: ModelConfig) -> bool:
        """Return whether a worker has this model, as far as is known here."""
        lease = self._started()[0].lease(config.key)
        return lease is not None and lease.info is not None

    def states(self) -> dict[str, str]:
        """Return the state of every model that was ever asked for: loading, ready, failed or cold."""
        directory, _ = self._started()
        if directory.age_s > MANAGER_ABSENCE_S:
            directory.await_answer(1.0)
        return {lease.name: lease.state for lease in directory.leases().values()}

    def infos(self) -> dict[str, ModelInfo]:
        """Return what is known of the models that are loaded, by name."""
        directory, _ = self._started()
        return {lease.name: lease.info for lease in directory.leases().values() if lease.info is not None}

    def check(self, timeout: float) -> None:
        """Make a round trip through the manager and every model that must be ready.

        Raises `Unavailable` naming what does not answer.
        """
        deadline = time.monotonic() + timeout
        directory, links = self._started()
        if directory.age_s > 2 * BEAT_S:
            directory.await_answer(timeout)
        if directory.age_s > 2 * BEAT_S:
            raise Unavailable("The pool manager does not answer; it is being restarted.")
        inbox = Inbox()
        asked = [each for lease in directory.leases().values() if lease.required for each in _workers(lease)]
        for tag, (lease, worker) in enumerate(asked):
            _ping(lease, worker, links, inbox, tag)
        silent = dict(enumerate(asked))
        while silent:
            try:
                tag, answer = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                names = ", ".join(sorted({lease.name for lease, _ in silent.values()}))
                raise Unavailable(f"The worker of model {names} does not answer.") from None
            lease, _ = silent.pop(tag)
            if not isinstance(answer, Pong) or answer.engine_silent_s > ENGINE_STALL_S:
                raise Unavailable(f"The engine of model {lease.name} does not answer.")


def _look_now() -> Look:
    now = time.monotonic()
    return Look(now, now)


def _workers(lease: Lease) -> list[tuple[Lease, WorkerAddress]]:
    """Return the workers of a model, with its lease; raise `Unavailable` if there are none."""
    if not lease.workers:
        why = lease.error.message if lease.error else "it is loading"
        raise Unavailable(f"Model {lease.name} is not ready: {why}")
    return [(lease, worker) for worker in lease.workers]


def _ping(lease: Lease, worker: WorkerAddress, links: Links, inbox: Inbox, tag: int) -> None:
    """Ask a worker whether it lives; raise `Unavailable` if it is known not to."""
    try:
        links.to(worker).send(Ping(), inbox, tag)
    except ChannelGone as error:
        raise Unavailable(f"The worker of model {lease.name} has just ended; it is being restarted.") from error
