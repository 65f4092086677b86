"""The rules by which the manager plans: how patient it is, and how much may be loaded at once."""

from __future__ import annotations

from dataclasses import dataclass

from localai_flask.machine import choose_budget, total_memory
from localai_flask.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the planner goes by; moments are of the monotonic clock."""

    worker_silence_s: float
    load_stall_s: float
    engine_stall_s: float
    grace_s: float
    """How long a worker that was told to leave in time may go on with what it runs."""
    kill_at: float | None = None
    """When the last workers are killed, once the pool was told to stop."""
    is_adopting: bool = False
    """Whether workers of a former manager may still register, so that none is started in their place."""
    max_models: int = 0
    """How many models may be loaded at once; 0: any number."""
    memory_budget: int | None = None
    """How many bytes all workers may take; None: any number."""
    is_budget_firm: bool = True
    """Whether a model is refused that needs more than that; not so where nobody has set the budget."""
    available_bytes: int | None = None
    """How many bytes the machine has free at this moment; None: it is not known, as in a test of the planner."""
    patience_s: float = 30.0
    """How long a model waits for one that is busy, until that takes no more requests."""
    forces_eviction: bool = False
    """Whether a busy model is not waited for."""
    idle_timeout_s: float | None = None
    """How long a model is kept that nobody uses and nothing else is said about; None: for ever."""
    busy_timeout_s: float | None = None
    """How long a worker with requests may bring forth nothing; None: for ever."""

    @property
    def is_stopping(self) -> bool:
        return self.kill_at is not None

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        return cls(
            worker_silence_s=settings.worker_silence_timeout,
            load_stall_s=settings.load_stall_timeout,
            engine_stall_s=settings.engine_stall_timeout,
            grace_s=settings.graceful_timeout,
            max_models=1 if settings.single_active_backend else settings.max_active_backends,
            memory_budget=choose_budget(settings.memory_budget, total_memory()),
            is_budget_firm=bool(settings.memory_budget),
            patience_s=settings.lru_eviction_max_retries * settings.lru_eviction_retry_interval,
            forces_eviction=settings.force_eviction_when_busy,
            idle_timeout_s=settings.watchdog_idle_timeout if settings.watchdog_idle else None,
            busy_timeout_s=settings.watchdog_busy_timeout if settings.watchdog_busy else None,
        )
