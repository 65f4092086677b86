"""A row of the manager's table: one model worker as it was last heard of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from localai_flask.pool.protocol import Coming, Report

HEARS_S = 5.0
"""How long an engine may be at one step and still be counted on to do soon what it is told."""


@dataclass
class WorkerEntry:
    """One model worker; moments are of the monotonic clock."""

    id: str
    pid: int
    heard: float
    """When it last gave a sign of life; at first, when it was started or adopted."""
    is_cautious: bool = False
    """Whether it loads without optional speed-ups."""
    address: str = ""
    progress: float = 0.0
    coming: Coming = ""
    since: float = field(init=False)
    """When it was started or adopted."""
    advanced: float = field(init=False)
    """When its load last made progress."""
    ready: bool = False
    leaving_since: float | None = None
    """When it was told to leave, or said that it does."""
    leaves_by: float | None = None
    """When its grace is over, if it has one."""
    ended_because: str = ""
    """Why the manager itself ended it, if it did."""
    was_silent: bool = False
    """Whether that was for a process that gave no sign of life at all."""
    running: int = 0
    waiting: int = 0
    taken: int = 0
    """How many requests it has had."""
    engine_silent_s: float = 0.0
    """How long its engine has been at one step."""
    fruitless_s: float = 0.0
    """How long its requests have brought forth nothing."""
    memory_bytes: int = 0
    spare_bytes: int = 0
    """What of it holds only what is kept for later."""
    reserved_bytes: int = 0
    """What it may come to take beside that."""
    cpu_s: float = 0.0
    kv_usage: float | None = None

    def __post_init__(self) -> None:
        self.since = self.advanced = self.heard

    @property
    def leaving(self) -> bool:
        return self.leaving_since is not None

    @property
    def claimed_bytes(self) -> int:
        """What it takes, and may come to take without asking."""
        return self.memory_bytes + self.reserved_bytes

    @property
    def returnable_bytes(self) -> int:
        """What it gives back when it is told to; one that is at a step for long is not waited for."""
        return self.spare_bytes if self.ready and self.engine_silent_s < HEARS_S else 0

    @property
    def is_busy(self) -> bool:
        return self.running + self.waiting > 0

    def hear(self, report: Report, now: float) -> None:
        """Take a heartbeat."""
        self.heard = now
        if report.progress > self.progress:
            self.progress, self.advanced = report.progress, now
        self.coming = report.coming
        self.running, self.waiting, self.taken = report.running, report.waiting, report.taken
        self.engine_silent_s, self.fruitless_s = report.engine_silent_s, report.fruitless_s
        self.memory_bytes, self.spare_bytes = report.memory_bytes, report.spare_bytes
        self.reserved_bytes = report.reserved_bytes
        self.cpu_s, self.kv_usage = report.cpu_s, report.kv_usage
        if report.leaving:
            self.will_leave(now)

    def forgive(self, seconds: float) -> None:
        """Do not count time in which nobody could hear it."""
        self.heard += seconds
        self.advanced += seconds
        if self.leaves_by is not None:
            self.leaves_by += seconds

    def will_leave(self, now: float, grace_s: float = math.inf) -> None:
        """Count on it no more."""
        if self.leaving_since is None:
            self.leaving_since = now
        if grace_s < math.inf:
            self.leaves_by = min(self.leaves_by or math.inf, now + grace_s)
