"""What LocalAI's clients, and operators, read about models in memory."""

from __future__ import annotations

import msgspec

from localai_flask.pool.client.pool_client import PUBLIC_STATES
from localai_flask.pool.protocol import ModelReport, ModelState, PoolReport, WorkerReport

UNINITIALIZED, BUSY, READY, FAILED = 0, 1, 2, -1
"""LocalAI's numbers of states."""


class Message(msgspec.Struct):
    message: str


class Loaded(msgspec.Struct):
    loaded: list[str]
    message: str = "model loaded"


class Memory(msgspec.Struct):
    """Bytes, and those of each worker by its pid."""

    total: int
    breakdown: dict[str, int]


class Monitored(msgspec.Struct):
    """`state` is 0 while the model is not loaded, 1 while it is busy, 2 when it is ready, -1 when it cannot be."""

    state: int
    memory: Memory


class LoadedModel(msgspec.Struct):
    id: str
    backend: str


class SystemWorker(msgspec.Struct):
    """A process with a model; times are in seconds, and `kv_cache_usage` is a share (1: all of it), null if unknown.

    `memory_spare_bytes` of its memory hold what it only keeps for later, and gives back when another model needs it;
    `memory_reserved_bytes` more are its own that it has not used yet, as the part of a cache without tokens.
    """

    pid: int
    state: str
    memory_bytes: int
    memory_spare_bytes: int
    memory_reserved_bytes: int
    cpu_seconds: float
    uptime: float
    requests_running: int
    requests_waiting: int
    requests_total: int
    kv_cache_usage: float | None


class SystemModel(msgspec.Struct):
    """A model that was asked for since the server started; times are in seconds, and null where there is none.

    `unloads_in` is how long until it leaves if nobody uses it, `waiting_for` how long requests have waited for it.
    """

    id: str
    backend: str
    state: str
    pinned: bool
    required: bool
    memory_bytes: int
    memory_expected: int
    requests_running: int
    requests_waiting: int
    requests_total: int
    ready_for: float | None
    idle_for: float | None
    unloads_in: float | None
    waiting_for: float | None
    error: str | None
    workers: list[SystemWorker]


class Totals(msgspec.Struct):
    """What all models take, and what they may; a limit that is null is none."""

    loaded_models: int
    max_active_backends: int | None
    memory_bytes: int
    memory_budget: int | None
    requests_running: int
    requests_waiting: int


class System(msgspec.Struct):
    """`backends` and `loaded_models` are as LocalAI has them."""

    backends: list[str]
    loaded_models: list[LoadedModel]
    models: list[SystemModel]
    totals: Totals


def monitored(model: ModelReport) -> Monitored:
    """Render one model."""
    workers = {str(worker.pid): worker.memory_bytes for worker in model.workers}
    return Monitored(_number(model), Memory(sum(workers.values()), workers))


def _number(model: ModelReport) -> int:
    if model.state is ModelState.READY:
        is_busy = any(worker.running + worker.waiting for worker in model.workers)
        return BUSY if is_busy else READY
    if model.state in (ModelState.FAILED, ModelState.COOLING):
        return FAILED
    return BUSY if model.state is ModelState.LOADING else UNINITIALIZED


def system(report: PoolReport) -> System:
    """Render the whole pool."""
    models = [_model(model) for model in sorted(report.models, key=lambda model: model.name)]
    loaded = [model for model in models if any(worker.state == "ready" for worker in model.workers)]
    return System(
        backends=report.backends,
        loaded_models=[LoadedModel(model.id, model.backend) for model in loaded],
        models=models,
        totals=Totals(
            loaded_models=len(loaded),
            max_active_backends=report.max_models or None,
            memory_bytes=sum(model.memory_bytes for model in models),
            memory_budget=report.memory_budget,
            requests_running=sum(model.requests_running for model in models),
            requests_waiting=sum(model.requests_waiting for model in models),
        ),
    )


def _model(model: ModelReport) -> SystemModel:
    return SystemModel(
        id=model.name,
        backend=model.backend,
        state=PUBLIC_STATES[model.state],
        pinned=model.is_pinned,
        required=model.is_required,
        memory_bytes=model.memory_bytes,
        memory_expected=model.need_bytes,
        requests_running=sum(worker.running for worker in model.workers),
        requests_waiting=sum(worker.waiting for worker in model.workers),
        requests_total=sum(worker.taken for worker in model.workers),
        ready_for=_rounded(model.ready_s),
        idle_for=_rounded(model.idle_s),
        unloads_in=_rounded(model.expires_s),
        waiting_for=_rounded(model.waited_s),
        error=model.error.message if model.error is not None else None,
        workers=[_worker(worker) for worker in model.workers],
    )


def _worker(worker: WorkerReport) -> SystemWorker:
    return SystemWorker(
        pid=worker.pid,
        state="unloading" if worker.is_leaving else "ready" if worker.is_ready else "loading",
        memory_bytes=worker.memory_bytes,
        memory_spare_bytes=worker.spare_bytes,
        memory_reserved_bytes=worker.reserved_bytes,
        cpu_seconds=round(worker.cpu_s, 3),
        uptime=round(worker.up_s, 3),
        requests_running=worker.running,
        requests_waiting=worker.waiting,
        requests_total=worker.taken,
        kv_cache_usage=_rounded(worker.kv_usage),
    )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
