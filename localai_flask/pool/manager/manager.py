"""The pool manager: the one process that starts and stops model workers.

On every tick it notes what has ended, has the planner compare wanted with actual, and carries out the plan. It carries
no tokens, and runs no model. If it is killed, its successor learns of the workers from their registrations.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time

import msgspec

from localai_flask.backends import BACKENDS, is_installed
from localai_flask.backends.environments.folder import Environments
from localai_flask.config.folder.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo
from localai_flask.machine import available_memory
from localai_flask.pool import protocol
from localai_flask.pool.manager.description import describe_model
from localai_flask.pool.manager.plan.actions import Unload
from localai_flask.pool.manager.plan.grants import grant_memory
from localai_flask.pool.manager.plan.planner import FAREWELL_S, plan
from localai_flask.pool.manager.plan.rules import Rules
from localai_flask.pool.manager.table.model_table import ModelTable
from localai_flask.pool.manager.worker_processes import WorkerProcesses
from localai_flask.pool.model_logs import ModelLogs
from localai_flask.pool.protocol import PoolReport, Wanted
from localai_flask.pool.runtime import Runtime
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""Time between two ticks from which the manager takes it that it was stopped, or starved, itself."""
BOUND_LOGS_S = 5.0
ADOPTION_S = 2.0
"""How long at most a manager that replaces a killed one waits for workers that live to register."""


class PoolManager:
    """Carries out plans; other threads call its public methods, the main thread `tick`."""

    def __init__(self, settings: Settings, runtime: Runtime, *, adopt: bool = False):
        self.settings = settings
        self.table = ModelTable(settings.model_load_failure_cooldown)
        self._rules = Rules.of(settings)
        self._runtime = runtime
        self._environments = Environments(settings.backends_folder)
        self._processes = WorkerProcesses(self.table, runtime, self._environments, settings)
        self._logs = ModelLogs(runtime.path)
        self._bound_logs_at = 0.0
        self._lock = threading.Lock()
        self._kill_at: float | None = None
        self._is_adopting = adopt
        self._ticked_at = time.monotonic()
        self._may_start_at = time.monotonic() + ADOPTION_S

    # What clients and workers call (proxy.PoolProxy).

    def sync(self, encoded: bytes) -> bytes:
        """Take what a web worker's requests want, and return what is known of all models."""
        news, now = protocol.decode_news(encoded), time.monotonic()
        with self._lock:
            for key, seconds in news.kept.items():
                self.table.keep(key, seconds, now)
            for wanted in news.wanted:
                self.table.ask(wanted, now)
            return protocol.encode(self.table.directory(now))

    def register(self, encoded: bytes) -> None:
        """Take up a worker that is ready, or one that a former manager started."""
        registration = protocol.decode_registration(encoded)
        with self._lock:
            self._processes.adopt(registration)
            self.table.register(registration, time.monotonic())

    def report(self, encoded: bytes) -> bytes:
        """Take a heartbeat."""
        with self._lock:
            report, now = protocol.decode_report(encoded), time.monotonic()
            answer = self.table.report(report, now)
            room = grant_memory(self.table.models, self._rules_of_now(), now).get(report.worker_id)
            return protocol.encode(msgspec.structs.replace(answer, room_bytes=room))

    def fail(self, worker_id: str, encoded: bytes) -> None:
        """Take the reason why a worker could not load its model."""
        with self._lock:
            self.table.fail(worker_id, protocol.decode_error(encoded), time.monotonic())

    def describe(self) -> bytes:
        """Return what an operator may want to know."""
        now = time.monotonic()
        with self._lock:
            found = [each for each in self.table.models.values() if each.workers or not each.is_withdrawn]
            models = [describe_model(model, self._rules, now) for model in found]
        budget, most = self._rules.memory_budget, self._rules.max_models
        backends = [name for name in BACKENDS if is_installed(name, self._environments)]
        report = PoolReport(models=models, backends=backends, memory_budget=budget, max_models=most)
        return protocol.encode(report)

    def unload(self, name: str, by_force: bool) -> bool:
        """Let the workers of a model leave, by force at once, and start none before somebody asks for it."""
        now = time.monotonic()
        with self._lock:
            found = [
                (key, each) for key, each in self.table.models.items() if each.config.name == name and each.workers
            ]
            for key, model in found:
                self._processes.unload(Unload(key, "is unloaded on demand"), now)
                if by_force:
                    for worker in model.workers.values():
                        self._processes.kill(worker.id, "it was unloaded by force")
            return bool(found)

    # What the thread of the required models calls.

    def require(self, name: str, wanted: Wanted) -> None:
        """Want a model without which the server is not ready."""
        with self._lock:
            self.table.require(name, wanted, time.monotonic())

    def update(self, config: ModelConfig, look: Look) -> None:
        """Take over what a model's YAML says now and needs no load."""
        with self._lock:
            self.table.update(config, look)

    def require_only(self, keys: frozenset[str]) -> None:
        """Be ready without all other models from now on."""
        with self._lock:
            self.table.require_only(keys)

    def mark_missing(self, name: str, error: ErrorInfo) -> None:
        """Note that a required name stands for no usable model."""
        with self._lock:
            self.table.mark_missing(name, error)

    def has_workers(self, key: str) -> bool:
        """Return whether a model is loaded or being loaded."""
        with self._lock:
            return self.table.has_workers(key)

    def names_in_use(self) -> frozenset[str]:
        """Return the names of models of the models folder that are wanted or have workers."""
        with self._lock:
            return self.table.names_in_use()

    def retire(self, names: frozenset[str], look: Look) -> None:
        """Let the workers of models leave, gracefully, that the folder no longer had at that look."""
        with self._lock:
            self.table.retire(names, look, time.monotonic())

    # What the main thread does.

    def take_up(self, settings: Settings) -> None:
        """Go on with other settings."""
        with self._lock:
            self.settings = self._processes.settings = settings
            self._rules = self._processes.rules = Rules.of(settings)
            self.table.cooldown_s = settings.model_load_failure_cooldown

    def tick(self) -> None:
        """Make actual what is wanted."""
        now = time.monotonic()
        with self._lock:
            self._forgive_pause(now)
            if self._is_adopting:
                self._adopt(now)
            self._processes.reap(now, is_stopping=self.stopping)
            for action in plan(self.table.models, self._rules_of_now(), now):
                self._processes.carry_out(action, now)
        self._bound_logs(now)  # without the lock, as it reads and writes files

    def stop(self, grace_s: float) -> None:
        """Let every worker finish, and have ticks end those that do not in time."""
        with self._lock:
            deadline = time.monotonic() + grace_s
            self._kill_at = deadline if self._kill_at is None else min(deadline, self._kill_at)

    @property
    def stopping(self) -> bool:
        return self._kill_at is not None

    @property
    def stopped(self) -> bool:
        """Whether no worker is left, or only some that not even a kill has ended in time."""
        if self._kill_at is None:
            return False
        return time.monotonic() >= self._kill_at + FAREWELL_S or not self._processes

    def _bound_logs(self, now: float) -> None:
        if now >= self._bound_logs_at:
            self._bound_logs_at = now + BOUND_LOGS_S
            try:
                self._logs.bound()
            except OSError as error:
                log.warning("the logs of models cannot be kept short: %s", error)

    # Under the lock.

    def _rules_of_now(self) -> Rules:
        can_give_back = any(model.returnable_bytes for model in self.table.models.values())
        available = available_memory() if can_give_back else None  # reading it takes a millisecond
        return dataclasses.replace(
            self._rules, kill_at=self._kill_at, is_adopting=self._is_adopting, available_bytes=available
        )

    def _forgive_pause(self, now: float) -> None:
        """Hold the time in which this process itself stood still against no worker."""
        paused_s, self._ticked_at = now - self._ticked_at, now
        if paused_s > PAUSE_S:
            log.warning("the pool manager stood still for %.1f s", paused_s)
            self.table.forgive(paused_s)

    def _adopt(self, now: float) -> None:
        """Wait for workers that live to register, but not for ever, as one of them may stand still; then start others.

        What those left that died together with the manager that had started them is removed.
        """
        living = self._runtime.living_workers()
        if living <= self._processes.ids or now >= self._may_start_at:
            self._is_adopting = False
            self._runtime.remove_worker_files(but=living | self._processes.ids)
