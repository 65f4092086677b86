"""The manager's table of models and workers, and what each piece of news changes in it. Starts and ends nothing."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator

from localai_flask.config import model as model_config
from localai_flask.config.folder.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo, ModelFileChanging, OutOfMemory, Unavailable
from localai_flask.pool.manager.plan.actions import Refuse
from localai_flask.pool.manager.table.death import Death, describe_death
from localai_flask.pool.manager.table.entries import Intent, ModelEntry
from localai_flask.pool.manager.table.worker_entry import WorkerEntry
from localai_flask.pool.protocol import Directory, Registration, Report, ReportAnswer, Wanted, WorkerLoad

log = logging.getLogger(__name__)

REFUSED_S = 1.0
"""How long a model for which there is no room counts as refused, so that all who wait for it hear of it."""


class ModelTable:
    """What is wanted and what there is; whoever calls holds the manager's lock."""

    def __init__(self, cooldown_s: float):
        self.models: dict[str, ModelEntry] = {}
        """By config key; what is required and cannot be found, by name."""
        self.cooldown_s = cooldown_s

    def directory(self, now: float) -> Directory:
        """Describe models and workers; of a model's forms the one that counts comes last."""
        loads = {
            each.id: WorkerLoad(each.running, each.waiting, each.taken) for _, each in self.workers() if each.ready
        }
        models = sorted(self.models.items(), key=lambda item: not item[1].is_withdrawn)
        return Directory({key: model.status(now) for key, model in models}, loads)

    def workers(self) -> Iterator[tuple[ModelEntry, WorkerEntry]]:
        return ((model, worker) for model in self.models.values() for worker in model.workers.values())

    def find(self, worker_id: str) -> tuple[ModelEntry, WorkerEntry] | None:
        return next((found for found in self.workers() if found[1].id == worker_id), None)

    # What clients want.

    def ask(self, wanted: Wanted, now: float) -> None:
        """Note that requests wait for a model, as the models folder showed it at a look."""
        model = self._find_current(model_config.decode(wanted.config), wanted.look, now)
        if model is not None:
            model.need_bytes = wanted.need_bytes or model.need_bytes
            model.wished_bytes = wanted.wished_bytes
            model.ask(now)

    def _find_current(self, config: ModelConfig, look: Look, now: float) -> ModelEntry | None:
        """Find or make the entry of a config, unless it is out of date.

        Where the table has it in another form, the later look is right: who asks for it as it was before its YAML
        changed is told so, and a change that is undone is a change.
        """
        others = [each for each in self.models.values() if each.is_other_form_of(config)]
        if not all(look.is_after(other.look) for other in others):
            self._entry(config).withdraw(_has_changed(config), now)
            return None
        was_required = any(other.intent.required for other in others)
        for other in others:
            other.withdraw(_has_changed(config), now)
        model = self._entry(config)
        if model.is_withdrawn and not look.is_after(model.look):
            return None  # it has left the folder since
        model.confirm(config, look)
        model.intent.required = model.intent.required or was_required
        return model

    def _entry(self, config: ModelConfig) -> ModelEntry:
        return self.models.setdefault(config.key, ModelEntry(config, Intent(wanted=False)))

    def keep(self, key: str, seconds: float, now: float) -> None:
        """Note how long a request that has ended wants its model to be kept."""
        if (model := self.models.get(key)) is not None:
            model.intent.keep_alive_s, model.intent.kept_at = seconds, now

    # What the models folder shows.

    def require(self, name: str, wanted: Wanted, now: float) -> None:
        """Want a model without which the server is not ready, unless it was unloaded on purpose."""
        self.models.pop(name, None)
        model = self._find_current(model_config.decode(wanted.config), wanted.look, now)
        if model is not None:
            model.need_bytes, model.wished_bytes, model.intent.required = wanted.need_bytes, wanted.wished_bytes, True
            if not model.intent.unloaded:
                model.want(now)

    def update(self, config: ModelConfig, look: Look) -> None:
        """Take over what a model's YAML says now and needs no load."""
        model = self.models.get(config.key)
        if model is not None and not model.is_withdrawn and look.is_after(model.look):
            model.confirm(config, look)

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
            before = known.error.code if known is not None and known.error is not None else ""
            if before != error.code or error.code != ModelFileChanging.code:  # of a copy once, not at each per cent
                log.error("cannot load %s to memory: %s", name, error.message)
            intent = Intent(wanted=False, required=True)
            self.models[name] = ModelEntry(ModelConfig(name=name), intent, error=error)

    def has_workers(self, key: str) -> bool:
        """Return whether a model is loaded or being loaded, so that its file need not be whole any more."""
        return key in self.models and bool(self.models[key].current)

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
            model.loaded(registration.info, now, now - worker.since)
        if registration.leaving:
            worker.will_leave(now)

    def report(self, report: Report, now: float) -> ReportAnswer:
        """Take a heartbeat."""
        found = self.find(report.worker_id)
        if found is None:
            return ReportAnswer(known=False)
        model, worker = found
        worker.hear(report, now)
        model.peak_bytes = max(model.peak_bytes, worker.claimed_bytes - worker.spare_bytes)
        if report.taken:
            model.used_at = max(model.used_at, now - report.idle_s)
        return ReportAnswer(known=True, suspects=model.suspects.digests(now))

    def fail(self, worker_id: str, error: ErrorInfo, now: float) -> None:
        """Take the reason why a worker could not load its model, its last word."""
        if (found := self.find(worker_id)) is not None:
            model, worker = found
            worker.will_leave(now)
            self._load_failed_for_room(model, error, now, is_for_room=error.code == OutOfMemory.code)

    # What becomes of processes.

    def started(self, model: ModelEntry, worker_id: str, pid: int, now: float) -> None:
        """Note that a worker has been started."""
        model.intent.wanted, model.intent.unloaded, model.error = True, False, None
        model.workers[worker_id] = WorkerEntry(worker_id, pid, now, model.is_cautious)

    def sent_away(self, worker_id: str, now: float, grace_s: float = math.inf) -> None:
        """Note that a worker has been told to leave, and how long it may take."""
        if (found := self.find(worker_id)) is not None:
            found[1].will_leave(now, grace_s)

    def unloaded(self, key: str, in_favour_of: str, now: float) -> None:
        """Note that a model was unloaded, and for whom."""
        self.models[key].unload()
        for model in self.models.values():
            model.forget_refusal(now)
        if (newcomer := self.models.get(in_favour_of)) is not None:
            newcomer.awaits.add(key)
            newcomer.room_error = None

    def refused(self, refusal: Refuse, now: float) -> None:
        """Note that there is no room for a model; where a load has found that out, it has to cool down."""
        model = self.models[refusal.key]
        if model.refused_for != refusal.error.message:  # not each second that somebody asks again
            log.error("%s", refusal.error.message)
            model.refused_for = refusal.error.message
        if model.room_error is not None:
            self.load_failed(model, model.room_error, now)
        else:
            model.refuse(refusal.error, until=now if refusal.until_asked else now + REFUSED_S)

    def killed(self, worker_id: str, because: str, *, is_silent: bool = False) -> None:
        """Note why a worker has been ended at once."""
        if (found := self.find(worker_id)) is not None:
            found[1].ended_because, found[1].was_silent = because, is_silent

    def load_failed(self, model: ModelEntry, error: ErrorInfo, now: float) -> None:
        model.load_failed(error, self.cooldown_s, now)

    def _load_failed_for_room(self, model: ModelEntry, error: ErrorInfo, now: float, *, is_for_room: bool) -> None:
        """Try a load that failed for want of memory once more, after another model has left, if one is there."""
        others = [each for each in self.models.values() if each is not model and each.current]
        if is_for_room and others and not model.has_retried and not model.usable:
            log.warning("%s It is tried again when another model has left.", error.message)
            model.room_error, model.has_retried = error, True
        else:
            self.load_failed(model, error, now)

    def ended(self, worker_id: str, death: Death, now: float, *, is_stopping: bool = False) -> str:
        """Note that a worker's process has ended; if it was not to, draw the conclusions, and return why it did."""
        found = self.find(worker_id)
        if found is None:
            return ""
        model, worker = found
        del model.workers[worker_id]
        if is_stopping or worker.leaving or death.exit_status == 0:
            return ""
        return self._died(model, worker, death, now)

    def _died(self, model: ModelEntry, worker: WorkerEntry, death: Death, now: float) -> str:
        name = model.config.name
        if model.give_up_speedups(worker, death):
            message = (
                f"The worker of model {name} was killed by {death.fault} while loading; "
                "loading it again without optional speed-ups."
            )
            log.warning("%s", message)
            return message
        error = describe_death(name, death, not worker.ready, worker.ended_because, is_cautious=worker.is_cautious)
        log.error("%s", error.message)
        model.suspects.add(death, now, is_certain=bool(worker.ended_because) and not worker.was_silent)
        if worker.is_cautious and not worker.ready:
            model.is_cautious = False  # it has not helped, so the next try is a full one again
        if not worker.ready:
            self._load_failed_for_room(model, error, now, is_for_room=death.was_killed and not worker.ended_because)
        elif death.suspect is not None and death.suspect.caller:
            model.suspects.blame(death.suspect.caller, self.cooldown_s, now)  # so that others keep the model
        else:
            model.loads.crashed(now)
            if model.loads.crashes_often(now):
                # Every client hears this, and what it printed may be of one client's request.
                silent = dataclasses.replace(death, last_words="")
                self.load_failed(model, describe_death(name, silent, False, worker.ended_because), now)
        return error.message

    def forgive(self, seconds: float) -> None:
        """Hold time in which nobody could hear them against no worker."""
        for _, worker in self.workers():
            worker.forgive(seconds)


def _has_changed(config: ModelConfig) -> ErrorInfo:
    return Unavailable(f"The YAML of model {config.name} has just changed; try again.").info
