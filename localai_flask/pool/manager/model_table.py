"""The rows of the manager's table: a model that somebody wants, and its workers. Starts and ends nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from msgspec import structs

from localai_flask.backends import BACKENDS
from localai_flask.config.look import NEVER, Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo
from localai_flask.generation import ModelInfo
from localai_flask.pool import protocol
from localai_flask.pool.manager.failure import Backoff, Suspects, fault_of
from localai_flask.pool.manager.worker_process import WorkerProcess
from localai_flask.pool.protocol import ModelStatus, WorkerAddress


@dataclass
class WorkerEntry:
    """One model worker as the manager sees it."""

    id: str
    process: WorkerProcess
    is_cautious: bool = False
    """Whether it loads without optional speed-ups."""
    address: str = ""
    progress: float = 0.0
    heard: float = field(default_factory=time.monotonic)
    advanced: float = field(default_factory=time.monotonic)
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

    @property
    def leaving(self) -> bool:
        return self.leaving_since is not None

    def forgive(self, seconds: float) -> None:
        """Do not count time in which nobody could hear it."""
        self.heard += seconds
        self.advanced += seconds
        if self.leaving_since is not None:
            self.leaving_since += seconds

    def will_leave(self) -> None:
        """Count on it no more."""
        if self.leaving_since is None:
            self.leaving_since = time.monotonic()

    def send_away(self) -> None:
        """Let it finish what it runs, and leave."""
        self.will_leave()
        self.process.terminate()


@dataclass
class ModelEntry:
    """One model that somebody asked for."""

    config: ModelConfig
    required: bool = False
    """Whether the server is not ready without it."""
    wanted: bool = True
    look: Look = NEVER
    """The latest look at the models folder that showed it as it is here."""
    superseded_at: float | None = None
    """When its YAML changed, so that another entry of the table stands for this name."""
    workers: dict[str, WorkerEntry] = field(default_factory=dict)
    info: ModelInfo | None = None
    error: ErrorInfo | None = None
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
    def is_due(self) -> bool:
        """Whether a failed model should be tried again although no request asks for it."""
        in_use = self.required or bool(self.usable)
        return in_use and not self.wanted and self.loads.may_try and self.superseded_at is None

    @property
    def state(self) -> protocol.ModelState:
        if self.usable:
            return "ready"
        if self.error is not None:
            return "failed"
        return "loading" if self.wanted else "cold"

    def status(self) -> ModelStatus:
        usable = self.usable
        return ModelStatus(
            name=self.config.name,
            state=self.state,
            required=self.required or (self.wanted and self.info is not None),
            progress=max((worker.progress for worker in self.current), default=0.0),
            workers=[WorkerAddress(worker.id, worker.address, worker.process.pid) for worker in usable],
            info=self.info if usable else None,
            error=None if usable else self._error_now(),
        )

    def _error_now(self) -> ErrorInfo | None:
        """Return the error with the time until the next try, where a next try may help."""
        wait_s = self.loads.retry_at - time.monotonic()
        if self.error is None or self.error.status < 500 or wait_s <= 0:
            return self.error
        return structs.replace(self.error, retry_after=wait_s)

    def load_failed(self, error: ErrorInfo, cooldown_s: float) -> None:
        """Try no more until the cool-down is over or longer; replicas that run go on."""
        self.loads.failed(cooldown_s)
        self.wanted, self.error = False, error
        if not self.usable:
            self.info = None

    def give_up_speedups(self, dead: WorkerEntry) -> bool:
        """Load without optional speed-ups from now on if a fault ended a load with them; return whether one did."""
        backend = BACKENDS.get(self.config.backend)
        if dead.ready or dead.is_cautious or not fault_of(dead.process) or backend is None or not backend.has_speedups:
            return False
        self.is_cautious = True
        return True

    def is_other_form_of(self, config: ModelConfig) -> bool:
        """Return whether it stands for the config's name, but as another YAML has it."""
        return self.superseded_at is None and self.config.name == config.name and self.config.key != config.key

    def confirm(self, look: Look) -> None:
        """Stand for its name, as a look at the models folder showed it so."""
        self.look = max(self.look, look)
        if self.superseded_at is not None:
            self.superseded_at, self.error = None, None

    def supersede(self, error: ErrorInfo) -> None:
        """Let its workers finish and leave, as its YAML has changed."""
        self.wanted = self.required = False
        self.superseded_at, self.error = time.monotonic(), error
        for worker in self.current:
            worker.send_away()
