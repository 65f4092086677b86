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
import sys
import threading
import time

from localai_flask.config import model as model_config
from localai_flask.config.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo, LoadCrashed, Unavailable
from localai_flask.pool import protocol
from localai_flask.pool.manager.failure import describe_death, fault_of
from localai_flask.pool.manager.model_table import ModelEntry, WorkerEntry
from localai_flask.pool.manager.required_models import RequiredModels
from localai_flask.pool.manager.worker_process import WorkerProcess
from localai_flask.pool.protocol import LOG_FORMAT, PoolServer, ReportAnswer, WorkerSpec
from localai_flask.pool.runtime import Runtime
from localai_flask.server.child import beat
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

TICK_S = 0.2
STOPPING_TICK_S = 0.02
PAUSE_S = 1.0
"""Time between two ticks from which the manager takes it that it was stopped, or starved, itself."""
ADOPTION_S = 2.0
"""How long a manager that replaces a killed one waits for running workers to register before it starts new ones."""
FORGET_S = 3.0
"""How long a model as it was before its YAML changed stays in the table, so that who still asks for it hears of it."""
FAREWELL_S = 5.0
"""How much longer than its grace a worker may take to leave."""
ORPHAN_GRACE_S = 2.0
"""How long workers have to leave when the arbiter is gone."""


class PoolManager:
    """The table of models and workers; other threads call its public methods, the main thread `tick`."""

    def __init__(self, settings: Settings, runtime: Runtime, *, adopt: bool = False):
        self.settings = settings
        self.runtime = runtime
        self.models: dict[str, ModelEntry] = {}
        """By config key; what is required and cannot be found, by name."""
        self.lock = threading.Lock()
        self.kill_at: float | None = None
        """When the last workers are killed, once the pool was told to stop."""
        self.adopting = adopt
        self.ticked_at = time.monotonic()
        self.may_start_at = time.monotonic() + (ADOPTION_S if adopt else 0.0)

    # What clients and workers call (protocol.PoolProxy).

    def sync(self, encoded: bytes) -> bytes:
        """Want these models, and tell what is known of all."""
        with self.lock:
            for wanted in protocol.decode_wanted(encoded):
                self._want(model_config.decode(wanted.config), wanted.look)
            return protocol.encode({key: model.status() for key, model in self.models.items()})

    def register(self, encoded: bytes) -> None:
        """Take up a worker that is ready, or one that a former manager started."""
        registration = protocol.decode_registration(encoded)
        config = model_config.decode(registration.config)
        with self.lock:
            model = self.models.setdefault(config.key, ModelEntry(config, wanted=not registration.leaving))
            worker = model.workers.get(registration.worker_id)
            if worker is None:
                process = WorkerProcess.adopt(registration.worker_id, registration.pid, self.runtime)
                worker = WorkerEntry(registration.worker_id, process)
                model.workers[worker.id] = worker
                log.info("adopted the worker of model %s (pid %d)", config.name, registration.pid)
            worker.address, worker.heard = registration.address, time.monotonic()
            if registration.info is not None:
                worker.ready, worker.progress = True, 1.0
                model.info, model.error = registration.info, None
                model.is_cautious = bool(registration.info.given_up)
                model.loads.succeeded()
            if registration.leaving:
                worker.will_leave()
            elif self.stopping:
                worker.send_away()

    def report(self, encoded: bytes) -> bytes:
        """Take a heartbeat."""
        report = protocol.decode_report(encoded)
        with self.lock:
            model, worker = self._find(report.worker_id)
            if model is None or worker is None:
                return protocol.encode(ReportAnswer(known=False))
            now = time.monotonic()
            worker.heard = now
            if report.progress > worker.progress:
                worker.progress, worker.advanced = report.progress, now
            worker.running, worker.waiting = report.running, report.waiting
            worker.engine_silent_s = report.engine_silent_s
            if report.leaving:
                worker.will_leave()
            return protocol.encode(ReportAnswer(known=True, suspects=model.suspects.digests()))

    def fail(self, worker_id: str, encoded: bytes) -> None:
        """Take the reason why a worker could not load its model."""
        error = protocol.decode_error(encoded)
        with self.lock:
            model, worker = self._find(worker_id)
            if model is not None and worker is not None:
                worker.will_leave()
                self._load_failed(model, error)

    # What the thread of the required models calls.

    def require(self, name: str, config: ModelConfig, look: Look) -> None:
        """Want a model without which the server is not ready."""
        with self.lock:
            self.models.pop(name, None)
            self._want(config, look, required=True)

    def mark_missing(self, name: str, error: ErrorInfo) -> None:
        """Note that a required name stands for no usable model."""
        with self.lock:
            known = self.models.get(name)
            if known is None or known.error != error:
                log.error("cannot load %s to memory: %s", name, error.message)
                self.models[name] = ModelEntry(ModelConfig(name=name), required=True, wanted=False, error=error)

    def loaded(self) -> frozenset[str]:
        """Return the names of models of the models folder that are wanted or have workers."""
        with self.lock:
            return frozenset(each.config.name for each in self._of_folder())

    def retire(self, names: frozenset[str], look: Look) -> None:
        """Let the workers of models leave, gracefully, that the folder no longer had at that look."""
        with self.lock:
            for model in self._of_folder():
                if model.config.name in names and look.is_after(model.look):
                    log.info(
                        "model %s has left the models folder, or is disabled; its workers leave", model.config.name
                    )
                    model.look = look
                    model.supersede(_has_changed(model.config))

    def _of_folder(self) -> list[ModelEntry]:
        models = self.models.values()
        return [each for each in models if each.config.source and each.superseded_at is None]

    # What the main thread does.

    def tick(self) -> None:
        """Make actual what is wanted."""
        with self.lock:
            self._forgive_pause()
            if self.adopting and _is_past(self.may_start_at):
                self._end_adoption()
            for key, model in list(self.models.items()):
                self._reap(model)
                self._end_silent(model)
                self._end_surplus(model)
                self._start_missing(model)
                if not model.workers and model.superseded_at is not None and _is_past(model.superseded_at + FORGET_S):
                    del self.models[key]

    def _forgive_pause(self) -> None:
        """Hold the time in which this process itself stood still against no worker."""
        now = time.monotonic()
        paused_s, self.ticked_at = now - self.ticked_at, now
        if paused_s > PAUSE_S:
            log.warning("the pool manager stood still for %.1f s", paused_s)
            for model in self.models.values():
                for worker in model.workers.values():
                    worker.forgive(paused_s)

    def stop(self, grace_s: float) -> None:
        """Let every worker finish, and have ticks end those that do not in time."""
        with self.lock:
            deadline = time.monotonic() + grace_s
            self.kill_at = deadline if self.kill_at is None else min(deadline, self.kill_at)
            for model in self.models.values():
                for worker in model.current:
                    worker.send_away()

    @property
    def stopping(self) -> bool:
        return self.kill_at is not None

    @property
    def stopped(self) -> bool:
        """Whether no worker is left, or only some that not even a kill has ended in time."""
        if self.kill_at is None:
            return False
        return _is_past(self.kill_at + FAREWELL_S) or not any(model.workers for model in self.models.values())

    # Under the lock.

    def _find(self, worker_id: str) -> tuple[ModelEntry, WorkerEntry] | tuple[None, None]:
        for model in self.models.values():
            if worker_id in model.workers:
                return model, model.workers[worker_id]
        return None, None

    def _want(self, config: ModelConfig, look: Look, *, required: bool = False) -> None:
        """Want a model as the models folder showed it at that look.

        Where the table has it in another form, the later look is right: who asks for it as it was before its YAML
        changed is told so, and a change that is undone is a change.
        """
        others = [each for each in self.models.values() if each.is_other_form_of(config)]
        if not all(look.is_after(other.look) for other in others):
            self.models.setdefault(config.key, ModelEntry(config)).supersede(_has_changed(config))
            return
        for other in others:
            required = required or other.required
            other.supersede(_has_changed(config))
        model = self.models.setdefault(config.key, ModelEntry(config))
        if model.superseded_at is not None and not look.is_after(model.look):
            return  # it has left the folder since
        model.confirm(look)
        model.required = model.required or required
        if not model.wanted and model.loads.may_try:
            model.wanted, model.error = True, None

    def _end_adoption(self) -> None:
        """Forget the workers that died together with the manager that had started them."""
        self.adopting = False
        self.runtime.remove_worker_files(but={worker for model in self.models.values() for worker in model.workers})

    def _reap(self, model: ModelEntry) -> None:
        for worker in list(model.workers.values()):
            if not worker.process.has_ended:
                continue
            del model.workers[worker.id]
            if not (worker.leaving or self.stopping or worker.process.exit_status == 0):
                self._died(model, worker)
            worker.process.close()

    def _died(self, model: ModelEntry, worker: WorkerEntry) -> None:
        if model.give_up_speedups(worker):
            log.warning(
                "the worker of model %s was killed by %s while loading; loading it again without optional speed-ups",
                *(model.config.name, fault_of(worker.process)),
            )
            return
        error = describe_death(
            *(model.config.name, worker.process, not worker.ready, worker.ended_because), is_cautious=worker.is_cautious
        )
        log.error("%s", error.message)
        model.suspects.add(worker.process.suspect(), worker.process, worker.ended_because)
        if worker.is_cautious and not worker.ready:
            model.is_cautious = False  # it has not helped, so the next try is a full one again
        if worker.ready:
            model.loads.crashed()
        if not worker.ready or model.loads.crashes_often:
            self._load_failed(model, error)

    def _end_silent(self, model: ModelEntry) -> None:
        now = time.monotonic()
        silence_s, stall_s = self.settings.worker_silence_timeout, self.settings.load_stall_timeout
        for worker in model.workers.values():
            # A library may hold the interpreter's lock while it loads, so that not even a heartbeat gets out.
            if now - worker.heard > (silence_s if worker.ready else max(silence_s, stall_s)):
                worker.ended_because = f"it gave no sign of life for {now - worker.heard:.0f} s"
            elif worker.leaving_since is not None:
                if _is_past(worker.leaving_since + self.settings.graceful_timeout + FAREWELL_S):
                    worker.ended_because = "it was told to leave and did not"
            elif not worker.ready and now - worker.advanced > stall_s:
                worker.ended_because = f"loading made no progress for {now - worker.advanced:.0f} s"
            elif worker.ready and worker.engine_silent_s > self.settings.engine_stall_timeout:
                worker.ended_because = f"its engine has been at one step for {worker.engine_silent_s:.0f} s"
            if worker.ended_because or (self.kill_at is not None and now > self.kill_at):
                worker.process.kill()

    def _end_surplus(self, model: ModelEntry) -> None:
        """Send workers away that were adopted after others had been started in their place."""
        oldest_first = sorted(model.current, key=lambda worker: not worker.ready)
        for worker in oldest_first[model.config.replicas :]:
            worker.send_away()

    def _start_missing(self, model: ModelEntry) -> None:
        if self.stopping or self.adopting or not model.config.backend:
            return
        if model.is_due:
            model.wanted = True
        while model.wanted and len(model.current) < model.config.replicas:
            try:
                worker = self._start(model)
            except OSError as error:
                message = f"Cannot start a worker for model {model.config.name}: {error}."
                log.error("%s", message)
                self._load_failed(model, LoadCrashed(message).info)
            else:
                model.workers[worker.id] = worker

    def _start(self, model: ModelEntry) -> WorkerEntry:
        worker_id, config = secrets.token_hex(6), model.config
        spec = WorkerSpec(
            worker_id=worker_id,
            config=model_config.encode(config),
            runtime_dir=str(self.runtime.path),
            log_level=self.settings.log_level,
            grace_s=float(self.settings.graceful_timeout),
            is_cautious=model.is_cautious,
            suspects=model.suspects.digests(),
        )
        process = WorkerProcess.start(spec, self.runtime)
        log.info("loading model %s with backend %s (pid %d)", config.name, config.backend, process.pid)
        return WorkerEntry(worker_id, process, model.is_cautious)

    def _load_failed(self, model: ModelEntry, error: ErrorInfo) -> None:
        model.load_failed(error, self.settings.model_load_failure_cooldown)


def _has_changed(config: ModelConfig) -> ErrorInfo:
    return Unavailable(f"The YAML of model {config.name} has just changed; try again.").info


def _is_past(moment: float) -> bool:
    return time.monotonic() >= moment


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
    RequiredModels(settings, manager).start()
    arbiter_gone = _tick_until_stopped(manager, runtime, pulse=int(sys.argv[1]) if len(sys.argv) > 1 else None)
    server.listener.close()  # type: ignore[attr-defined]  # typeshed leaves it out
    if arbiter_gone:
        runtime.remove()


def _tick_until_stopped(manager: PoolManager, runtime: Runtime, pulse: int | None) -> bool:
    """Tick, and stop on a signal or when the arbiter is gone; return whether it is. Each tick is told on `pulse`."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # the wake-up descriptor carries the news
    try:
        arbiter = os.pidfd_open(runtime.arbiter_pid)
    except ProcessLookupError:
        return True
    arbiter_gone = False
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        selector.register(arbiter, selectors.EVENT_READ)
        while not manager.stopped:
            for key, _ in selector.select(STOPPING_TICK_S if manager.stopping else TICK_S):
                arbiter_gone = arbiter_gone or key.fd == arbiter
                selector.unregister(key.fd)
                manager.stop(ORPHAN_GRACE_S if arbiter_gone else manager.settings.graceful_timeout)
            try:
                manager.tick()
            except Exception:
                log.exception("the pool manager's tick failed; going on")
            if pulse is not None:
                beat(pulse)
    return arbiter_gone
