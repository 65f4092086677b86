"""What is to be done about models and workers: from the table, the rules and the time to a list of actions.

Pure: it starts, ends, logs and changes nothing, and takes every moment from its caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from localai_flask.pool.manager.plan.actions import Action, Forget, Kill, Retire, SendAway, Unload
from localai_flask.pool.manager.plan.room import admit
from localai_flask.pool.manager.plan.rules import Rules
from localai_flask.pool.manager.table.entries import ModelEntry
from localai_flask.pool.manager.table.worker_entry import WorkerEntry

FORGET_S = 3.0
"""How long a model as it was before its YAML changed stays in the table, so that who still asks for it hears of it."""
FAREWELL_S = 5.0
"""How much longer than its grace a worker may take to leave."""


def plan(models: Mapping[str, ModelEntry], rules: Rules, now: float) -> list[Action]:
    """Compare what is wanted with what there is, and return what makes the one the other."""
    actions = [action for key, model in models.items() for action in _plan_model(key, model, rules, now)]
    if not rules.is_stopping and not rules.is_adopting:
        actions += admit(models, rules, now)
    return actions


def _plan_model(key: str, model: ModelEntry, rules: Rules, now: float) -> Iterator[Action]:
    for worker in model.workers.values():
        because = worker.ended_because or _fault(worker, rules, now)
        if because or (rules.kill_at is not None and now > rules.kill_at):
            yield Kill(worker.id, because, _is_silent(worker, rules, now))
    if rules.is_stopping:
        yield from (SendAway(worker.id) for worker in model.current)
    elif model.is_withdrawn:
        yield from (Retire(worker.id) for worker in model.current)
    else:
        yield from (Retire(worker.id) for worker in _surplus(model))
        if (idle_s := model.idle_s(now)) >= model.keep_alive_s(rules.idle_timeout_s) and not model.is_pinned:
            yield Unload(key, f"leaves, as nobody has used it for {idle_s:.0f} s")
    withdrawn_at = model.intent.withdrawn_at
    if not model.workers and withdrawn_at is not None and now >= withdrawn_at + FORGET_S:
        yield Forget(key)


def _fault(worker: WorkerEntry, rules: Rules, now: float) -> str:
    """Return why a worker must be killed; "" if it need not."""
    silent_s, stalled_s = now - worker.heard, now - worker.advanced
    if _is_silent(worker, rules, now):
        return f"it gave no sign of life for {silent_s:.0f} s"
    if worker.leaves_by is not None:
        return "it was told to leave and did not" if now >= worker.leaves_by + FAREWELL_S else ""
    if not worker.ready and stalled_s > rules.load_stall_s:
        return f"loading made no progress for {stalled_s:.0f} s"
    if worker.ready and worker.engine_silent_s > rules.engine_stall_s:
        return f"its engine has been at one step for {worker.engine_silent_s:.0f} s"
    if rules.busy_timeout_s is not None and worker.is_busy and worker.fruitless_s > rules.busy_timeout_s:
        return f"its requests have brought forth nothing for {worker.fruitless_s:.0f} s"
    return ""


def _is_silent(worker: WorkerEntry, rules: Rules, now: float) -> bool:
    # A library may hold the interpreter's lock while it loads, so that not even a heartbeat gets out.
    patience_s = rules.worker_silence_s if worker.ready else max(rules.worker_silence_s, rules.load_stall_s)
    return now - worker.heard > patience_s


def _surplus(model: ModelEntry) -> list[WorkerEntry]:
    """Return the workers beyond a model's replicas, the youngest of those that serve.

    There are some where workers were adopted after others had been started in their place.
    """
    return sorted(model.current, key=lambda worker: not worker.ready)[model.config.replicas :]
