"""The processes of model workers: what is done to them, and what the table notes of it.

Whoever calls holds the manager's lock.
"""

from __future__ import annotations

import logging

from localai_flask.backends.environments.folder import Environments
from localai_flask.config import model as model_config
from localai_flask.errors import ConfigError, LoadCrashed
from localai_flask.metrics.counts import Counts
from localai_flask.metrics.families import WORKER_ENDS
from localai_flask.pool.manager.plan.actions import Action, Forget, Kill, Refuse, Retire, SendAway, Start, Unload
from localai_flask.pool.manager.plan.grants import room_for
from localai_flask.pool.manager.plan.rules import Rules
from localai_flask.pool.manager.table.death import Death
from localai_flask.pool.manager.table.entries import ModelEntry
from localai_flask.pool.manager.table.model_table import ModelTable
from localai_flask.pool.manager.worker_process import WorkerProcess
from localai_flask.pool.manager.worker_start import start_worker
from localai_flask.pool.protocol import Registration
from localai_flask.pool.runtime import Runtime
from localai_flask.settings import Settings

log = logging.getLogger(__name__)


class WorkerProcesses:
    """The processes of the table's workers."""

    def __init__(self, table: ModelTable, runtime: Runtime, environments: Environments, settings: Settings):
        self.settings, self.rules = settings, Rules.of(settings)
        """Replaced when settings change."""
        self._table = table
        self._runtime = runtime
        self._environments = environments
        self._counts = Counts.open(runtime.path)
        self._processes: dict[str, WorkerProcess] = {}
        """By worker id."""

    def __len__(self) -> int:
        return len(self._processes)

    @property
    def ids(self) -> set[str]:
        return set(self._processes)

    def adopt(self, registration: Registration) -> None:
        """Take over a process that a former manager started, unless it is known."""
        worker_id = registration.worker_id
        if worker_id not in self._processes:
            name = model_config.decode(registration.config).name
            self._processes[worker_id] = WorkerProcess.adopt(worker_id, registration.pid, name, self._runtime)

    def reap(self, now: float, *, is_stopping: bool) -> None:
        """Take leave of the processes that have ended."""
        for worker_id, process in list(self._processes.items()):
            if process.has_ended:
                del self._processes[worker_id]
                death = Death(process.exit_status, process.last_words(), process.suspect())
                self._count_end(worker_id, death)
                if message := self._table.ended(worker_id, death, now, is_stopping=is_stopping):
                    process.note_end(message)
                process.close()

    def carry_out(self, action: Action, now: float) -> None:
        """Do what the planner wants."""
        if isinstance(action, Start):
            model = self._table.models[action.key]
            if model.should_run(now):  # not if another replica has just failed to start
                self._start(model, now)
        elif isinstance(action, Retire):
            self._retire(action.worker_id, now)
        elif isinstance(action, SendAway):
            self._send_away(action.worker_id, now)
        elif isinstance(action, Kill):
            self.kill(action.worker_id, action.because, is_silent=action.is_silent)
        elif isinstance(action, Unload):
            self.unload(action, now)
        elif isinstance(action, Refuse):
            self._table.refused(action, now)
        elif isinstance(action, Forget):
            del self._table.models[action.key]

    def unload(self, action: Unload, now: float) -> None:
        """Have the workers of a model leave."""
        model = self._table.models[action.key]
        log.info("model %s %s", model.config.name, action.because)
        for worker in model.current:
            if action.is_forced:
                self._send_away(worker.id, now)
            else:
                self._retire(worker.id, now)
        self._table.unloaded(action.key, action.in_favour_of, now)

    def kill(self, worker_id: str, because: str, *, is_silent: bool = False) -> None:
        """End a worker at once."""
        self._processes[worker_id].kill()
        self._table.killed(worker_id, because, is_silent=is_silent)

    def _count_end(self, worker_id: str, death: Death) -> None:
        if (found := self._table.find(worker_id)) is not None:
            model, worker = found
            how = "killed" if worker.ended_because else "left" if worker.leaving or death.exit_status == 0 else "died"
            self._counts.add(WORKER_ENDS, (model.config.name, how))

    def _retire(self, worker_id: str, now: float) -> None:
        self._processes[worker_id].retire()
        self._table.sent_away(worker_id, now)

    def _send_away(self, worker_id: str, now: float) -> None:
        self._processes[worker_id].terminate()
        self._table.sent_away(worker_id, now, self.rules.grace_s)

    def _start(self, model: ModelEntry, now: float) -> None:
        config, room = model.config, room_for(model, self._table.models, self.rules)
        try:
            worker_id, process = start_worker(
                model, self.settings, self._runtime, self._environments, room_bytes=room, now=now
            )
        except (ConfigError, LoadCrashed) as error:
            log.error("%s", error)
            self._table.load_failed(model, error.info, now)
            return
        log.info("loading model %s with backend %s (pid %d)", config.name, config.backend, process.pid)
        self._processes[worker_id] = process
        self._table.started(model, worker_id, process.pid, now)
