"""The pool manager: the one process that starts and stops model workers.

It holds a table of models, each wanted by somebody, and on every tick compares wanted with actual: reap what died, end
what is silent, start what is missing. It carries no tokens, and runs no model. If it is killed, its successor learns of
the workers from their registrations.
"""

from __future__ import annotations

import logging
import os
import secrets
import selectors
import signal
import threading
import time
from dataclasses import dataclass, field

from localai_flask.config import model as model_config
from localai_flask.config.model import ModelConfig
from localai_flask.config.registry import Registry
from localai_flask.errors import ApiError, ErrorInfo
from localai_flask.generation import ModelInfo
from localai_flask.pool import protocol
from localai_flask.pool.failure import Backoff, describe_death
from localai_flask.pool.process import WorkerProcess
from localai_flask.pool.protocol import LOG_FORMAT, Lease, PoolServer, WorkerAddress, WorkerSpec
from localai_flask.pool.runtime import Runtime
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

TICK_S = 0.2
ADOPTION_S = 2.0
"""How long a manager that replaces a killed one waits for running workers to register before it starts new ones."""


@dataclass
class Worker:
    """One model worker as the manager sees it."""

    id: str
    process: WorkerProcess
    address: str = ""
    progress: float = 0.0
    heard: float = field(default_factory=time.monotonic)
    advanced: float = field(default_factory=time.monotonic)
    """When its load last made progress."""
    ready: bool = False
    leaving: bool = False
    ended_because: str = ""
    """Why the manager itself ended it, if it did."""
    running: int = 0
    waiting: int = 0


@dataclass
class Model:
    """One model that somebody asked for."""

    config: ModelConfig
    required: bool = False
    """Whether the server is not ready without it."""
    wanted: bool = True
    superseded: bool = False
    """Whether its YAML has changed since, so that another entry of the table stands for this name."""
    workers: dict[str, Worker] = field(default_factory=dict)
    info: ModelInfo | None = None
    error: ErrorInfo | None = None
    loads: Backoff = field(default_factory=Backoff)

    @property
    def usable(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.ready and not worker.leaving]

    @property
    def current(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if not worker.leaving]

    @property
    def state(self) -> protocol.ModelState:
        if self.usable:
            return "ready"
        if self.error is not None:
            return "failed"
        return "loading" if self.wanted else "cold"

    def lease(self) -> Lease:
        usable = self.usable
        progress = max((worker.progress for worker in self.current), default=0.0)
        state: protocol.ModelState = (
            "ready" if usable else "failed" if self.error else "loading" if self.wanted else "cold"
        )
        return Lease(
            name=self.config.name,
            state=state,
            required=self.required or (self.wanted and self.info is not None),
            progress=progress,
            workers=[WorkerAddress(worker.id, worker.address, worker.process.pid) for worker in usable],
            info=self.info if usable else None,
            error=None if usable else self.error,
        )


class PoolManager:
    """The table of models and workers; the server's threads call its public methods, the main thread `tick`."""

    def __init__(self, settings: Settings, runtime: Runtime, *, adopt: bool = False):
        self.settings = settings
        self.runtime = runtime
        self.models: dict[str, Model] = {}
        self.lock = threading.Lock()
        self.stopping = False
        self.may_start_at = time.monotonic() + (ADOPTION_S if adopt else 0.0)

    # What clients and workers call (protocol.PoolProxy).

    def sync(self, wanted: list[bytes]) -> bytes:
        """Want these models, and tell what is known of all."""
        with self.lock:
            for encoded in wanted:
                self._want(model_config.decode(encoded))
            return protocol.encode({key: model.lease() for key, model in self.models.items()})

    def register(self, encoded: bytes) -> None:
        """Take up a worker that is ready: one of our own, or one that a former manager started."""
        told = protocol.decode_registration(encoded)
        config = model_config.decode(told.config)
        with self.lock:
            model = self.models.setdefault(config.key, Model(config))
            worker = model.workers.get(told.worker_id)
            if worker is None:
                worker = Worker(told.worker_id, WorkerProcess.adopt(told.worker_id, told.pid, self.runtime))
                model.workers[worker.id] = worker
                log.info("adopted the worker of model %s (pid %d)", config.name, told.pid)
            worker.address, worker.ready, worker.progress = told.address, True, 1.0
            worker.heard = time.monotonic()
            model.info, model.error = told.info, None
            model.loads.succeeded()

    def report(self, encoded: bytes) -> bool:
        """Take a heartbeat; False if the worker is not known here."""
        told = protocol.decode_report(encoded)
        with self.lock:
            worker = self._worker(told.worker_id)
            if worker is None:
                return False
            now = time.monotonic()
            worker.heard = now
            if told.progress > worker.progress:
                worker.progress, worker.advanced = told.progress, now
            worker.running, worker.waiting = told.running, told.waiting
            worker.leaving = worker.leaving or told.leaving
            return True

    def fail(self, worker_id: str, encoded: bytes) -> None:
        """Take the reason why a worker could not load its model."""
        error = protocol.decode_error(encoded)
        with self.lock:
            for model in self.models.values():
                worker = model.workers.get(worker_id)
                if worker is not None:
                    worker.leaving = True
                    self._load_failed(model, error)

    # What the main thread does.

    def want_required(self) -> None:
        """Want the models that must be loaded before the server counts as ready."""
        registry = Registry(self.settings)
        with self.lock:
            for name in self.settings.load_to_memory:
                try:
                    self._want(registry.get(name), required=True)
                except ApiError as error:
                    log.error("cannot load %s to memory: %s", name, error)
                    self.models[name] = Model(ModelConfig(name=name), required=True, wanted=False, error=error.info)

    def tick(self) -> None:
        """Make actual what is wanted."""
        with self.lock:
            for key, model in list(self.models.items()):
                self._reap(model)
                self._end_silent(model)
                self._start_missing(model)
                if model.superseded and not model.workers:
                    del self.models[key]

    def stop(self, grace_s: float) -> None:
        """Let every worker finish, then end those that do not."""
        with self.lock:
            self.stopping = True
            processes = [worker.process for model in self.models.values() for worker in model.workers.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + grace_s
        for process in processes:
            process.wait(deadline - time.monotonic())
            process.kill()
            process.wait(5.0)

    # Under the lock.

    def _worker(self, worker_id: str) -> Worker | None:
        for model in self.models.values():
            if worker_id in model.workers:
                return model.workers[worker_id]
        return None

    def _want(self, config: ModelConfig, *, required: bool = False) -> None:
        model = self.models.get(config.key)
        if model is None:
            model = self.models[config.key] = Model(config)
            self._retire_others(config)
        model.required = model.required or required
        if not model.wanted and model.loads.may_try:
            model.wanted, model.error = True, None

    def _retire_others(self, config: ModelConfig) -> None:
        """Stop the workers of a model whose YAML has changed since they started; what they run may finish."""
        for other in self.models.values():
            if other.config.name == config.name and other.config.key != config.key:
                other.wanted = other.required = False
                other.superseded = True
                for worker in other.current:
                    worker.leaving = True
                    worker.process.terminate()

    def _reap(self, model: Model) -> None:
        for worker in list(model.workers.values()):
            if not worker.process.ended:
                continue
            del model.workers[worker.id]
            worker.process.close()
            if worker.leaving or self.stopping:
                continue
            error = describe_death(model.config.name, worker.process, not worker.ready, worker.ended_because)
            log.error("%s", error.message)
            if worker.ready:
                model.loads.crashed()
            if not worker.ready or model.loads.crashes_often:
                self._load_failed(model, error)

    def _end_silent(self, model: Model) -> None:
        now = time.monotonic()
        for worker in model.current:
            if now - worker.heard > self.settings.worker_silence_timeout:
                worker.ended_because = f"it gave no sign of life for {now - worker.heard:.0f} s"
            elif not worker.ready and now - worker.advanced > self.settings.load_stall_timeout:
                worker.ended_because = f"loading made no progress for {now - worker.advanced:.0f} s"
            if worker.ended_because:
                worker.process.kill()

    def _start_missing(self, model: Model) -> None:
        if self.stopping or time.monotonic() < self.may_start_at:
            return
        if model.required and not model.wanted and model.loads.may_try and model.config.backend:
            model.wanted = True
        while model.wanted and len(model.current) < model.config.replicas:
            worker = self._start(model.config)
            model.workers[worker.id] = worker

    def _start(self, config: ModelConfig) -> Worker:
        worker_id = secrets.token_hex(6)
        spec = WorkerSpec(
            worker_id=worker_id,
            config=model_config.encode(config),
            runtime_dir=str(self.runtime.path),
            log_level=self.settings.log_level,
            grace_s=float(self.settings.graceful_timeout),
        )
        process = WorkerProcess.start(spec, self.runtime)
        log.info("loading model %s with backend %s (pid %d)", config.name, config.backend, process.pid)
        return Worker(worker_id, process)

    def _load_failed(self, model: Model, error: ErrorInfo) -> None:
        model.loads.failed(self.settings.model_load_failure_cooldown)
        model.wanted, model.info = False, None
        model.error = error


def main() -> None:
    """Run the manager until it is told to stop or the arbiter is gone."""
    settings, runtime = Settings.from_environment(), Runtime.from_environment()
    logging.basicConfig(level=settings.log_level.upper(), format=LOG_FORMAT)
    adopt = runtime.manager_socket.exists()
    runtime.manager_socket.unlink(missing_ok=True)
    manager = PoolManager(settings, runtime, adopt=adopt)
    PoolServer.register("pool", callable=lambda: manager, exposed=protocol.PoolProxy._exposed_)
    server = PoolServer(address=str(runtime.manager_socket), authkey=runtime.key).get_server()
    threading.Thread(target=server.serve_forever, name="pool-server", daemon=True).start()
    manager.want_required()
    arbiter_gone = _tick_until_told(manager, runtime)
    manager.stop(2.0 if arbiter_gone else 5.0)
    server.listener.close()  # type: ignore[attr-defined]  # typeshed leaves it out
    if arbiter_gone:
        runtime.remove()


def _tick_until_told(manager: PoolManager, runtime: Runtime) -> bool:
    """Tick until a signal says stop (return False) or the arbiter has gone (True)."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # the wake-up descriptor carries the news
    try:
        arbiter = os.pidfd_open(runtime.arbiter_pid)
    except ProcessLookupError:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ, False)
        selector.register(arbiter, selectors.EVENT_READ, True)
        while True:
            if events := selector.select(TICK_S):
                return any(key.data for key, _ in events)
            try:
                manager.tick()
            except Exception:
                log.exception("the pool manager's tick failed; going on")


if __name__ == "__main__":
    main()
