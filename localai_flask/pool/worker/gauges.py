"""What a model worker shows on /metrics: how its engine is now, and how its load went."""

from __future__ import annotations

import time

from localai_flask.metrics import families as f
from localai_flask.metrics.counts import Counts
from localai_flask.pool.protocol import Report
from localai_flask.pool.worker.engine.engine_thread import EngineThread


class Gauges:
    """Written with each heartbeat; nobody has to ask a worker, which may hang or be busy."""

    def __init__(self, counts: Counts, model: str, worker_id: str):
        self._counts = counts
        self._model = model
        self._labels = (model, worker_id)
        self._begun = time.monotonic()
        self._has_told_load = False
        for outcome in ("ok", "failed"):
            counts.prepare(f.LOADS, (model, outcome))
        for how in ("left", "killed", "died"):
            counts.prepare(f.WORKER_ENDS, (model, how))

    def show(self, report: Report) -> None:
        """Show what is reported to the manager."""
        values = {
            f.RUNNING: report.running,
            f.WAITING: report.waiting,
            f.ENGINE_SILENT: report.engine_silent_s,
            f.MODEL_MEMORY: report.memory_bytes,
            f.MODEL_CPU: report.cpu_s,
            f.WORKER_UPTIME: time.monotonic() - self._begun,
        }
        if report.kv_usage is not None:
            values[f.KV_USAGE] = report.kv_usage
        for family, value in values.items():
            self._counts.set(family, self._labels, value)

    def count_load(self, engine: EngineThread) -> None:
        """Count the load of the model, once, however soon the worker has to leave."""
        if self._has_told_load:
            return
        self._has_told_load = True
        self._counts.add(f.LOADS, (self._model, "failed" if engine.info is None else "ok"))
        if engine.info is not None:
            self._counts.observe(f.LOAD_TIME, (self._model,), engine.load_s)
