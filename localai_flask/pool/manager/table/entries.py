"""The rows of the manager's table: a model, who wants it, and its workers. Plain data that is told the time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from msgspec import structs

from localai_flask.backends import BACKENDS
from localai_flask.config.folder.look import NEVER, Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo
from localai_flask.generation import ModelInfo
from localai_flask.pool.manager.table.backoff import Backoff
from localai_flask.pool.manager.table.death import Death, Suspects
from localai_flask.pool.manager.table.worker_entry import WorkerEntry
from localai_flask.pool.protocol import ModelState, ModelStatus, WorkerAddress

ASKED_S = 2.0
"""How long after they last said so requests are taken to wait for a model; clients say it every 0.05 s."""
SETTLE_S = 2.0
"""How long a model that was just loaded is kept for requests that have waited for it and are on their way."""


@dataclass
class Intent:
    """Who wants a model to be loaded; it says nothing about what has become of that."""

    wanted: bool = True
    """Whether somebody has asked for it, so that it is kept loaded until it is unloaded or a load fails."""
    required: bool = False
    """Whether the server is not ready without it."""
    unloaded: bool = False
    """Whether it was unloaded on purpose, so that it waits to be asked for, even if it is required."""
    asked_since: float | None = None
    """Since when requests have waited for it."""
    asked_at: float = -math.inf
    """When requests last said that they wait for it."""
    keep_alive_s: float | None = None
    """How long the last request that said it wants the model to be kept; None: no request has said it."""
    kept_at: float = -math.inf
    """When that request ended."""
    withdrawn_at: float | None = None
    """When its YAML changed or left the folder, so that nobody may have it as it is here."""


@dataclass
class ModelEntry:
    """One model in the form that its YAML had at one time."""

    config: ModelConfig
    intent: Intent = field(default_factory=Intent)
    look: Look = NEVER
    """The latest look at the models folder that showed it as it is here."""
    need_bytes: int = 0
    """What a worker is expected to take at least, from the model's files."""
    wished_bytes: int = 0
    """What it is expected to take if it finds that free, which is more where its context may grow; 0: no more."""
    peak_bytes: int = 0
    """The most that a worker of it has taken."""
    workers: dict[str, WorkerEntry] = field(default_factory=dict)
    info: ModelInfo | None = None
    error: ErrorInfo | None = None
    """Why the last load failed, or why the model cannot be had."""
    refused_until: float = -math.inf
    """Until when it is not tried although somebody asks, as there was no room for it."""
    refused_for: str = ""
    """Why there was no room for it, as it was last logged since it was there."""
    loads: Backoff = field(default_factory=Backoff)
    suspects: Suspects = field(default_factory=Suspects)
    is_cautious: bool = False
    """Whether its workers load without optional speed-ups, as one that used them was killed by a fault."""
    ready_at: float | None = None
    """Since when it has taken requests."""
    used_at: float = -math.inf
    """When it last had requests."""
    load_s: float = 0.0
    """How long the last load took."""
    room_error: ErrorInfo | None = None
    """A load's error for want of memory, for which it is tried again once another model has left."""
    has_retried: bool = False
    """Whether it has been tried again for that once."""
    awaits: set[str] = field(default_factory=set)
    """The keys of models that were told to leave for it."""

    @property
    def usable(self) -> list[WorkerEntry]:
        return [worker for worker in self.workers.values() if worker.ready and not worker.leaving]

    @property
    def current(self) -> list[WorkerEntry]:
        return [worker for worker in self.workers.values() if not worker.leaving]

    @property
    def is_withdrawn(self) -> bool:
        return self.intent.withdrawn_at is not None

    @property
    def is_pinned(self) -> bool:
        return self.config.pinned

    @property
    def is_used(self) -> bool:
        """Whether it has had requests since it was loaded."""
        return self.ready_at is not None and self.used_at > self.ready_at

    @property
    def held_bytes(self) -> int:
        """What its workers take or may come to; of one that loads, what it is expected to."""
        return sum(max(each.claimed_bytes, 0 if each.ready else self.need_bytes) for each in self.workers.values())

    @property
    def wish_bytes(self) -> int:
        """What one more worker had better find free."""
        return max(self.need_bytes, self.wished_bytes)

    @property
    def returnable_bytes(self) -> int:
        """What its workers would give back for another model."""
        return sum(worker.returnable_bytes for worker in self.workers.values())

    def is_busy(self, now: float) -> bool:
        return any(worker.is_busy for worker in self.workers.values()) or self.asked_s(now) is not None

    def asked_s(self, now: float) -> float | None:
        """Return how long requests have waited for it; None if there are none."""
        since = self.intent.asked_since
        return now - since if since is not None and now - self.intent.asked_at < ASKED_S else None

    def ready_s(self, now: float) -> float | None:
        """Return how long it has taken requests; None if it does not."""
        return now - self.ready_at if self.ready_at is not None and self.usable else None

    def idle_s(self, now: float) -> float:
        """Return how long it has been there for nobody; below zero while it is not there, or not idle."""
        if self.ready_s(now) is None or self.ready_at is None or self.is_busy(now):
            return -1.0
        settled_at = self.ready_at if self.is_used else self.ready_at + SETTLE_S
        return now - max(self.used_at, self.intent.kept_at, settled_at)

    @property
    def has_keep_alive(self) -> bool:
        return self.intent.keep_alive_s is not None or self.config.keep_alive is not None

    def keep_alive_s(self, default_s: float | None) -> float:
        """Return how long it is kept for nobody: as the last request says it, its YAML, or else the server."""
        said = (self.intent.keep_alive_s, self.config.keep_alive, default_s)
        seconds = next((each for each in said if each is not None), math.inf)
        return seconds if seconds >= 0 else math.inf

    def should_run(self, now: float) -> bool:
        """Return whether workers are to be started where some are missing."""
        intent = self.intent
        is_intended = intent.wanted or (intent.required and not intent.unloaded) or bool(self.usable)
        return is_intended and bool(self.config.backend) and not self.is_withdrawn and self._may_try(now)

    def _may_try(self, now: float) -> bool:
        return now >= self.refused_until and self.loads.may_try(now)

    def state(self, now: float) -> ModelState:
        if self.usable:
            return ModelState.READY
        if self.error is not None and not self.is_withdrawn:
            return ModelState.FAILED if self.loads.may_try(now) else ModelState.COOLING
        if self.current or self.intent.wanted:
            return ModelState.LOADING
        return ModelState.DRAINING if self.workers else ModelState.ABSENT

    def status(self, now: float) -> ModelStatus:
        usable = self.usable
        return ModelStatus(
            name=self.config.name,
            state=self.state(now),
            required=self.intent.required and not self.intent.unloaded,
            progress=max((worker.progress for worker in self.current), default=0.0),
            coming=next((worker.coming for worker in self.current if worker.coming), ""),
            workers=[WorkerAddress(worker.id, worker.address, worker.pid) for worker in usable],
            info=self.info if usable else None,
            error=None if usable else self._error_at(now),
        )

    def _error_at(self, now: float) -> ErrorInfo | None:
        """Return the error with the time until the next try, where a next try may help."""
        wait_s = self.loads.retry_at - now
        if self.error is None or self.error.status < 500 or wait_s <= 0:
            return self.error
        return structs.replace(self.error, retry_after=wait_s)

    def ask(self, now: float) -> None:
        """Note that requests wait for it, and load it unless a failed load has still to cool down."""
        intent = self.intent
        if self.asked_s(now) is None:
            intent.asked_since = now
        intent.asked_at, intent.unloaded = now, False
        self.want(now)

    def want(self, now: float) -> None:
        """Load it, unless it was just refused or a failed load has still to cool down."""
        if not self.intent.wanted and self._may_try(now):
            self.intent.wanted, self.error = True, None

    def loaded(self, info: ModelInfo, now: float, load_s: float) -> None:
        """Take requests, as a worker is ready."""
        if self.ready_s(now) is None:
            self.ready_at, self.load_s = now, load_s
        self.info, self.error, self.refused_for = info, None, ""
        self.is_cautious = bool(info.given_up)
        self.intent.asked_since = None
        self.room_error, self.awaits, self.has_retried = None, set(), False
        self.loads.succeeded()

    def load_failed(self, error: ErrorInfo, cooldown_s: float, now: float) -> None:
        """Try no more until the cool-down is over or longer; replicas that run go on."""
        self.loads.failed(cooldown_s, now)
        self.refuse(error, until=now)
        if not self.usable:
            self.info = None

    def refuse(self, error: ErrorInfo, until: float) -> None:
        """Try no more until somebody asks again after that time."""
        self.intent.wanted, self.error, self.refused_until = False, error, until
        self.room_error, self.awaits, self.has_retried = None, set(), False

    def forget_refusal(self, now: float) -> None:
        """Let it be asked for again, as another has left."""
        if now < self.refused_until:
            self.refused_until, self.error = -math.inf, None

    def unload(self) -> None:
        """Start no more workers until somebody asks; those that run are for the caller to send away."""
        self.intent = Intent(
            wanted=False,
            required=self.intent.required,
            unloaded=True,
            asked_since=self.intent.asked_since,
            asked_at=self.intent.asked_at,
            withdrawn_at=self.intent.withdrawn_at,
        )
        self.ready_at = None

    def give_up_speedups(self, worker: WorkerEntry, death: Death) -> bool:
        """Load without optional speed-ups from now on if a fault ended a load with them; return whether one did."""
        backend = BACKENDS.get(self.config.backend)
        if worker.ready or worker.is_cautious or not death.fault or backend is None or not backend.has_speedups:
            return False
        self.is_cautious = True
        return True

    def is_other_form_of(self, config: ModelConfig) -> bool:
        """Return whether it stands for the config's name, but as another YAML has it."""
        return not self.is_withdrawn and self.config.name == config.name and self.config.key != config.key

    def confirm(self, config: ModelConfig, look: Look) -> None:
        """Stand for its name, as a look at the models folder showed it so."""
        if look >= self.look:
            self.config, self.look = config, look
        if self.is_withdrawn:
            self.intent.withdrawn_at, self.error = None, None

    def withdraw(self, error: ErrorInfo, now: float) -> None:
        """Stand for its name no more; its workers finish and leave."""
        self.intent = Intent(wanted=False, withdrawn_at=now)
        self.error = error
