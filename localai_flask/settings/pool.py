"""Settings of the pool: how many models are in memory, and when a worker is given up."""

from __future__ import annotations

from dataclasses import dataclass

from localai_flask.settings.fields import setting
from localai_flask.sizes import check_budget


@dataclass(frozen=True, kw_only=True, repr=False)
class PoolSettings:
    """Which models leave for others, and what becomes of those that hang or fail."""

    max_active_backends: int = setting(
        0, "Models that may be loaded at once; the least recently used leaves for another (0: no limit)."
    )
    single_active_backend: bool = setting(False, "LocalAI's older word for a `max-active-backends` of 1.")
    memory_budget: str = setting(
        "",
        "Memory that all models may take together, as in 12GB or 80% (0: no limit; unset: what there is, less a tenth, "
        "and no limit where there is a GPU).",
        metavar="SIZE",
        check=check_budget,
    )
    force_eviction_when_busy: bool = setting(
        False, "Let a busy model leave at once for another, and its requests end after the graceful timeout."
    )
    lru_eviction_max_retries: int = setting(
        30, "How many retry intervals a model waits for busy ones, before one of them takes no more requests."
    )
    lru_eviction_retry_interval: float = setting(1.0, "Seconds of one such interval.")
    watchdog_idle: bool = setting(False, "Unload models that nobody uses.")
    watchdog_idle_timeout: float = setting(900.0, "Seconds without a request after which such a model is unloaded.")
    watchdog_busy: bool = setting(False, "Replace workers whose requests bring forth nothing.")
    watchdog_busy_timeout: float = setting(300.0, "Seconds without a token after which such a worker is replaced.")
    model_load_failure_cooldown: float = setting(10.0, "Seconds before a model that failed to load is tried again.")
    load_stall_timeout: float = setting(120.0, "Seconds without progress after which a loading model is given up.")
    engine_stall_timeout: float = setting(
        300.0, "Seconds that one step of an engine may last, after which its worker is replaced."
    )
    worker_silence_timeout: float = setting(10.0, "Seconds without a heartbeat after which a model worker is replaced.")
