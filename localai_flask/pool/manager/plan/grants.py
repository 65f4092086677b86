"""How much memory each worker may take: more where some is free, less where another model is to come.

Pure, as the planner is. What a worker gives back is what it keeps for later only, as idle prompts; a model that nobody
uses does so first, the least recently used before others.
"""

from __future__ import annotations

from collections.abc import Mapping

from localai_flask.machine import SPARED_BYTES
from localai_flask.pool.manager.plan.rules import Rules
from localai_flask.pool.manager.table.entries import ModelEntry


def grant_memory(models: Mapping[str, ModelEntry], rules: Rules, now: float) -> dict[str, int]:
    """Return how many bytes each worker that is ready may take; those who are not named, what the machine has."""
    free = _free_bytes(models, rules, now)
    workers = [(model, worker) for model in models.values() for worker in model.workers.values() if worker.ready]
    if free is None or not workers:
        return {}
    if free >= 0:
        share = free // len(workers)  # so that all of them together take no more before they are next heard
        return {} if rules.memory_budget is None else {each.id: each.memory_bytes + share for _, each in workers}
    granted = {}
    workers.sort(key=lambda pair: (pair[0].is_busy(now), pair[0].used_at))
    for _, worker in workers:
        given_back = min(worker.returnable_bytes, -free)
        granted[worker.id] = worker.memory_bytes - given_back
        free += given_back
    return granted


def room_for(model: ModelEntry, models: Mapping[str, ModelEntry], rules: Rules) -> int | None:
    """Return how much memory a new worker of a model may take beside all others; None if there is no budget."""
    if rules.memory_budget is None:
        return None
    return max(model.need_bytes, rules.memory_budget - sum(map(_claimed, models.values())))


def _free_bytes(models: Mapping[str, ModelEntry], rules: Rules, now: float) -> int | None:
    """Return what is free beside what is to be loaded, below zero if that lacks; None if nobody knows."""
    coming = sum(model.wish_bytes for model in models.values() if not model.current and model.should_run(now))
    claimed, held = sum(map(_claimed, models.values())), sum(map(_held, models.values()))
    bounds = []
    if rules.memory_budget is not None:
        bounds.append(rules.memory_budget - claimed)
    if rules.available_bytes is not None:
        bounds.append(rules.available_bytes - SPARED_BYTES - (claimed - held))
    return min(bounds) - coming if bounds else None


def _held(model: ModelEntry) -> int:
    return sum(worker.memory_bytes for worker in model.workers.values())


def _claimed(model: ModelEntry) -> int:
    """Return what a model's workers take and may come to take."""
    workers = model.workers.values()
    return sum(max(each.claimed_bytes, 0 if each.ready else model.wish_bytes) for each in workers)
