"""What an operator is told of a model and its workers."""

from __future__ import annotations

import math

from localai_flask.pool.manager.plan.rules import Rules
from localai_flask.pool.manager.table.entries import ModelEntry
from localai_flask.pool.manager.table.worker_entry import WorkerEntry
from localai_flask.pool.protocol import ModelReport, WorkerReport


def describe_model(model: ModelEntry, rules: Rules, now: float) -> ModelReport:
    """Describe a model, whatever has become of it."""
    idle_s = model.idle_s(now)
    keep_s = math.inf if model.is_pinned else model.keep_alive_s(rules.idle_timeout_s)
    is_idle = model.ready_s(now) is not None and not model.is_busy(now)
    return ModelReport(
        name=model.config.name,
        backend=model.config.backend,
        state=model.state(now),
        is_pinned=model.is_pinned,
        is_required=model.intent.required,
        need_bytes=model.need_bytes,
        memory_bytes=sum(worker.memory_bytes for worker in model.workers.values()),
        ready_s=model.ready_s(now),
        idle_s=max(0.0, idle_s) if is_idle else None,
        expires_s=max(0.0, keep_s - idle_s) if is_idle and keep_s < math.inf else None,
        waited_s=model.asked_s(now) if not model.usable else None,
        error=None if model.is_withdrawn else model.error,
        workers=[_describe_worker(worker, now) for worker in model.workers.values()],
    )


def _describe_worker(worker: WorkerEntry, now: float) -> WorkerReport:
    return WorkerReport(
        pid=worker.pid,
        is_ready=worker.ready,
        is_leaving=worker.leaving,
        memory_bytes=worker.memory_bytes,
        spare_bytes=worker.spare_bytes,
        reserved_bytes=worker.reserved_bytes,
        cpu_s=worker.cpu_s,
        up_s=now - worker.since,
        running=worker.running,
        waiting=worker.waiting,
        taken=worker.taken,
        kv_usage=worker.kv_usage,
    )
