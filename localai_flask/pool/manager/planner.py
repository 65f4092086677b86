"""What is to be done about models and workers: from the table, the rules and the time to a list of actions.

Pure: it starts, ends, logs and changes nothing, and takes every moment from its caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from localai_flask.pool.manager.entries import ModelEntry, WorkerEntry

FORGET_S = 3.0
"""How long a model as it was before its YAML changed stays in the table, so that who still asks for it hears of it."""
FAREWELL_S = 5.0
"""How much longer than its grace a worker may take to leave."""


@dataclass(frozen=True)
class Rules:
    """How long workers may be silent, and whether the pool is being stopped."""

    worker_silence_s: float
    load_stall_s: float
    engine_stall_s: float
    grace_s: float
    """How long a worker that was told to leave may go on with what it runs."""
    kill_at: float | None = None
    """When the last workers are killed, once the pool was told to stop."""
    is_adopting: bool = False
    """Whether workers of a former manager may still register, so that none is started in their place."""

    @property
    def is_stopping(self) -> bool:
        return self.kill_at is not None


@dataclass(frozen=True)
class Start:
    """Start another worker for a model."""

    key: str


@dataclass(frozen=True)
class SendAway:
    """Let a worker finish what it runs, and leave."""

    worker_id: str


@dataclass(frozen=True)
class Kill:
    """End a worker at once; `because` is empty when the pool stops."""

    worker_id: str
    because: str


@dataclass(frozen=True)
class Forget:
    """Drop a model from the table."""

    key: str


Action = Start | SendAway | Kill | Forget


def plan(models: Mapping[str, ModelEntry], rules: Rules, now: float) -> list[Action]:
    """Compare what is wanted with what there is, and return what makes the one the other."""
    return [action for key, model in models.items() for action in _plan_model(key, model, rules, now)]


def _plan_model(key: str, model: ModelEntry, rules: Rules, now: float) -> Iterator[Action]:
    for worker in model.workers.values():
        because = worker.ended_because or _fault(worker, rules, now)
        if because or (rules.kill_at is not None and now > rules.kill_at):
            yield Kill(worker.id, because)
    for worker in _surplus(model, rules):
        yield SendAway(worker.id)
    if not rules.is_stopping and not rules.is_adopting and model.should_run(now):
        yield from [Start(key)] * (model.config.replicas - len(model.current))
    withdrawn_at = model.intent.withdrawn_at
    if not model.workers and withdrawn_at is not None and now >= withdrawn_at + FORGET_S:
        yield Forget(key)


def _fault(worker: WorkerEntry, rules: Rules, now: float) -> str:
    """Return why a worker must be killed; "" if it need not."""
    silent_s, stalled_s = now - worker.heard, now - worker.advanced
    # A library may hold the interpreter's lock while it loads, so that not even a heartbeat gets out.
    patience_s = rules.worker_silence_s if worker.ready else max(rules.worker_silence_s, rules.load_stall_s)
    if silent_s > patience_s:
        return f"it gave no sign of life for {silent_s:.0f} s"
    if worker.leaving_since is not None:
        overdue = now >= worker.leaving_since + rules.grace_s + FAREWELL_S
        return "it was told to leave and did not" if overdue else ""
    if not worker.ready and stalled_s > rules.load_stall_s:
        return f"loading made no progress for {stalled_s:.0f} s"
    if worker.ready and worker.engine_silent_s > rules.engine_stall_s:
        return f"its engine has been at one step for {worker.engine_silent_s:.0f} s"
    return ""


def _surplus(model: ModelEntry, rules: Rules) -> list[WorkerEntry]:
    """Return the workers that must leave, the youngest of those that serve.

    There are too many where some were adopted after others had been started in their place.
    """
    if rules.is_stopping or model.is_withdrawn:
        return model.current
    return sorted(model.current, key=lambda worker: not worker.ready)[model.config.replicas :]
