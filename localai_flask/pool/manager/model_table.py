"""The manager's table of models and workers, and what each piece of news changes in it. Starts and ends nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from localai_flask.config import model as model_config
from localai_flask.config.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo, Unavailable
from localai_flask.pool.manager.death import Death, describe_death
from localai_flask.pool.manager.entries import Intent, ModelEntry, WorkerEntry
from localai_flask.pool.protocol import Directory, Registration, Report, ReportAnswer

log = logging.getLogger(__name__)


class ModelTable:
    """What is wanted and what there is; whoever calls holds the manager's lock."""

    def __init__(self, cooldown_s: float):
        self.models: dict[str, ModelEntry] = {}
        """By config key; what is required and cannot be found, by name."""
        self.cooldown_s = cooldown_s

    def directory(self, now: float) -> Directory:
        return {key: model.status(now) for key, model in self.models.items()}

    def workers(self) -> Iterator[tuple[ModelEntry, WorkerEntry]]:
        return ((model, worker) for model in self.models.values() for worker in model.workers.values())

    def find(self, worker_id: str) -> tuple[ModelEntry, WorkerEntry] | None:
        return next((found for found in self.workers() if found[1].id == worker_id), None)

    # What clients want.

    def want(self, config: ModelConfig, look: Look, now: float, *, required: bool = False) -> None:
        """Want a model as the models folder showed it at that look.

        Where the table has it in another form, the later look is right: who asks for it as it was before its YAML
        changed is told so, and a change that is undone is a change.
        """
        others = [each for each in self.models.values() if each.is_other_form_of(config)]
        if not all(look.is_after(other.look) for other in others):
            self.models.setdefault(config.key, ModelEntry(config)).withdraw(_has_changed(config), now)
            return
        for other in others:
            required = required or other.intent.required
            other.withdraw(_has_changed(config), now)
        model = self.models.setdefault(config.key, ModelEntry(config))
        if model.is_withdrawn and not look.is_after(model.look):
            return  # it has left the folder since
        model.confirm(look)
        model.intent.required = model.intent.required or required
        model.want(now)

    # What the models folder shows.

    def require(self, name: str, config: ModelConfig, look: Look, now: float) -> None:
        """Want a model without which the server is not ready."""
        self.models.pop(name, None)
        self.want(config, look, now, required=True)

    def require_only(self, keys: frozenset[str]) -> None:
        """Require none but these models, by key, or by name those that cannot be used."""
        for key in [key for key, model in self.models.items() if model.intent.required and key not in keys]:
            self.models[key].intent.required = False
            if key == self.models[key].config.name:
                del self.models[key]

    def mark_missing(self, name: str, error: ErrorInfo) -> None:
        """Note that a required name stands for no usable model."""
        known = self.models.get(name)
        if known is None or known.error != error:
            log.error("cannot load %s to memory: %s", name, error.message)
            intent = Intent(wanted=False, required=True)
            self.models[name] = ModelEntry(ModelConfig(name=name), intent, error=error)

    def names_in_use(self) -> frozenset[str]:
        """Return the names of models of the models folder that the table has."""
        return frozenset(each.config.name for each in self._of_folder())

    def retire(self, names: Iterable[str], look: Look, now: float) -> None:
        """Withdraw models that the folder no longer had at that look."""
        for model in self._of_folder():
            if model.config.name in names and look.is_after(model.look):
                log.info("model %s has left the models folder, or is disabled; its workers leave", model.config.name)
                model.look = look
                model.withdraw(_has_changed(model.config), now)

    def _of_folder(self) -> list[ModelEntry]:
        return [each for each in self.models.values() if each.config.source and not each.is_withdrawn]

    # What workers tell.

    def register(self, registration: Registration, now: float) -> None:
        """Take up a worker that is ready, or one that a former manager started."""
        config = model_config.decode(registration.config)
        model = self.models.setdefault(config.key, ModelEntry(config, Intent(wanted=not registration.leaving)))
        worker = model.workers.get(registration.worker_id)
        if worker is None:
            worker = model.workers[registration.worker_id] = WorkerEntry(registration.worker_id, registration.pid, now)
            log.info("adopted the worker of model %s (pid %d)", config.name, registration.pid)
        worker.address, worker.heard = registration.address, now
        if registration.info is not None:
            worker.ready, worker.progress = True, 1.0
            model.info, model.error = registration.info, None
            model.is_cautious = bool(registration.info.given_up)
            model.loads.succeeded()
        if registration.leaving:
            worker.will_leave(now)

    def report(self, report: Report, now: float) -> ReportAnswer:
        """Take a heartbeat."""
        found = self.find(report.worker_id)
        if found is None:
            return ReportAnswer(known=False)
        model, worker = found
        worker.heard = now
        if report.progress > worker.progress:
            worker.progress, worker.advanced = report.progress, now
        worker.running, worker.waiting = report.running, report.waiting
        worker.engine_silent_s = report.engine_silent_s
        if report.leaving:
            worker.will_leave(now)
        return ReportAnswer(known=True, suspects=model.suspects.digests(now))

    def fail(self, worker_id: str, error: ErrorInfo, now: float) -> None:
        """Take the reason why a worker could not load its model, its last word."""
        if (found := self.find(worker_id)) is not None:
            model, worker = found
            worker.will_leave(now)
            self.load_failed(model, error, now)

    # What becomes of processes.

    def started(self, model: ModelEntry, worker_id: str, pid: int, now: float) -> None:
        """Note that a worker has been started."""
        model.intent.wanted, model.error = True, None
        model.workers[worker_id] = WorkerEntry(worker_id, pid, now, model.is_cautious)

    def sent_away(self, worker_id: str, now: float) -> None:
        """Note that a worker has been told to leave."""
        if (found := self.find(worker_id)) is not None:
            found[1].will_leave(now)

    def killed(self, worker_id: str, because: str) -> None:
        """Note why a worker has been ended at once."""
        if (found := self.find(worker_id)) is not None:
            found[1].ended_because = because

    def load_failed(self, model: ModelEntry, error: ErrorInfo, now: float) -> None:
        model.load_failed(error, self.cooldown_s, now)

    def ended(self, worker_id: str, death: Death, now: float, *, is_stopping: bool = False) -> None:
        """Note that the process of a worker has ended; if it was not to end, draw the conclusions."""
        found = self.find(worker_id)
        if found is None:
            return
        model, worker = found
        del model.workers[worker_id]
        if not (is_stopping or worker.leaving or death.exit_status == 0):
            self._died(model, worker, death, now)

    def _died(self, model: ModelEntry, worker: WorkerEntry, death: Death, now: float) -> None:
        name = model.config.name
        if model.give_up_speedups(worker, death):
            log.warning(
                "the worker of model %s was killed by %s while loading; loading it again without optional speed-ups",
                *(name, death.fault),
            )
            return
        error = describe_death(name, death, not worker.ready, worker.ended_because, is_cautious=worker.is_cautious)
        log.error("%s", error.message)
        model.suspects.add(death, worker.ended_because, now)
        if worker.is_cautious and not worker.ready:
            model.is_cautious = False  # it has not helped, so the next try is a full one again
        if worker.ready:
            model.loads.crashed(now)
        if not worker.ready or model.loads.crashes_often(now):
            self.load_failed(model, error, now)

    def forgive(self, seconds: float) -> None:
        """Hold time in which nobody could hear them against no worker."""
        for _, worker in self.workers():
            worker.forgive(seconds)


def _has_changed(config: ModelConfig) -> ErrorInfo:
    return Unavailable(f"The YAML of model {config.name} has just changed; try again.").info
