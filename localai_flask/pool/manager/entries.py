"""The rows of the manager's table: a model, who wants it, and its workers. Plain data that is told the time."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import structs

from localai_flask.backends import BACKENDS
from localai_flask.config.look import NEVER, Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo
from localai_flask.generation import ModelInfo
from localai_flask.pool.manager.backoff import Backoff
from localai_flask.pool.manager.death import Death, Suspects
from localai_flask.pool.protocol import ModelState, ModelStatus, WorkerAddress


@dataclass
class WorkerEntry:
    """One model worker as it was last heard of."""

    id: str
    pid: int
    heard: float
    """When it last gave a sign of life; at first, when it was started or adopted."""
    is_cautious: bool = False
    """Whether it loads without optional speed-ups."""
    address: str = ""
    progress: float = 0.0
    advanced: float = field(init=False)
    """When its load last made progress."""
    ready: bool = False
    leaving_since: float | None = None
    """When it was told to leave, or said that it does."""
    ended_because: str = ""
    """Why the manager itself ended it, if it did."""
    running: int = 0
    waiting: int = 0
    engine_silent_s: float = 0.0
    """How long its engine has been at one step."""

    def __post_init__(self) -> None:
        self.advanced = self.heard

    @property
    def leaving(self) -> bool:
        return self.leaving_since is not None

    def forgive(self, seconds: float) -> None:
        """Do not count time in which nobody could hear it."""
        self.heard += seconds
        self.advanced += seconds
        if self.leaving_since is not None:
            self.leaving_since += seconds

    def will_leave(self, now: float) -> None:
        """Count on it no more."""
        if self.leaving_since is None:
            self.leaving_since = now


@dataclass
class Intent:
    """Who wants a model to be loaded; it says nothing about what has become of that."""

    wanted: bool = True
    """Whether somebody has asked for it, so that it is kept loaded until a load fails."""
    required: bool = False
    """Whether the server is not ready without it."""
    withdrawn_at: float | None = None
    """When its YAML changed or left the folder, so that nobody may have it as it is here."""


@dataclass
class ModelEntry:
    """One model in the form that its YAML had at one time."""

    config: ModelConfig
    intent: Intent = field(default_factory=Intent)
    look: Look = NEVER
    """The latest look at the models folder that showed it as it is here."""
    workers: dict[str, WorkerEntry] = field(default_factory=dict)
    info: ModelInfo | None = None
    error: ErrorInfo | None = None
    """Why the last load failed, or why the model cannot be had."""
    loads: Backoff = field(default_factory=Backoff)
    suspects: Suspects = field(default_factory=Suspects)
    is_cautious: bool = False
    """Whether its workers load without optional speed-ups, as one that used them was killed by a fault."""

    @property
    def usable(self) -> list[WorkerEntry]:
        return [worker for worker in self.workers.values() if worker.ready and not worker.leaving]

    @property
    def current(self) -> list[WorkerEntry]:
        return [worker for worker in self.workers.values() if not worker.leaving]

    @property
    def is_withdrawn(self) -> bool:
        return self.intent.withdrawn_at is not None

    def should_run(self, now: float) -> bool:
        """Return whether workers are to be started where some are missing."""
        intended = self.intent.wanted or self.intent.required or bool(self.usable)
        return intended and bool(self.config.backend) and not self.is_withdrawn and self.loads.may_try(now)

    def state(self, now: float) -> ModelState:
        if self.usable:
            return ModelState.READY
        if self.error is not None:
            return ModelState.FAILED if self.is_withdrawn or self.loads.may_try(now) else ModelState.COOLING
        if self.current or self.intent.wanted:
            return ModelState.LOADING
        return ModelState.DRAINING if self.workers else ModelState.ABSENT

    def status(self, now: float) -> ModelStatus:
        usable = self.usable
        return ModelStatus(
            name=self.config.name,
            state=self.state(now),
            required=self.intent.required or (self.intent.wanted and self.info is not None),
            progress=max((worker.progress for worker in self.current), default=0.0),
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

    def want(self, now: float) -> None:
        """Load it, unless a failed load has still to cool down."""
        if not self.intent.wanted and self.loads.may_try(now):
            self.intent.wanted, self.error = True, None

    def load_failed(self, error: ErrorInfo, cooldown_s: float, now: float) -> None:
        """Try no more until the cool-down is over or longer; replicas that run go on."""
        self.loads.failed(cooldown_s, now)
        self.intent.wanted, self.error = False, error
        if not self.usable:
            self.info = None

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

    def confirm(self, look: Look) -> None:
        """Stand for its name, as a look at the models folder showed it so."""
        self.look = max(self.look, look)
        if self.is_withdrawn:
            self.intent.withdrawn_at, self.error = None, None

    def withdraw(self, error: ErrorInfo, now: float) -> None:
        """Stand for its name no more; its workers finish and leave."""
        self.intent = Intent(wanted=False, required=False, withdrawn_at=now)
        self.error = error
