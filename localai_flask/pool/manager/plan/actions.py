"""What the planner can have done, in the order in which it says it."""

from __future__ import annotations

from dataclasses import dataclass

from localai_flask.errors import ErrorInfo


@dataclass(frozen=True)
class Start:
    """Start another worker for a model."""

    key: str


@dataclass(frozen=True)
class Retire:
    """Have a worker take no more requests, and leave when it has none, however long that takes."""

    worker_id: str


@dataclass(frozen=True)
class SendAway:
    """Have a worker leave when it has no more requests, or when its grace is over."""

    worker_id: str


@dataclass(frozen=True)
class Kill:
    """End a worker at once; `because` is empty when the pool stops."""

    worker_id: str
    because: str
    is_silent: bool = False
    """Whether the whole process has given no sign of life, which may come from outside."""


@dataclass(frozen=True)
class Unload:
    """Let all workers of a model leave, and start none before somebody asks for it; `because` goes on from its name.

    A forced one leaves within its grace. `in_favour_of` is the key of the model that it makes room for.
    """

    key: str
    because: str
    is_forced: bool = False
    in_favour_of: str = ""


@dataclass(frozen=True)
class Refuse:
    """Inform who waits for a model that there is no room for it; `until_asked`: where that is so as nobody waits."""

    key: str
    error: ErrorInfo
    until_asked: bool = False


@dataclass(frozen=True)
class Forget:
    """Drop a model from the table."""

    key: str


Action = Start | Retire | SendAway | Kill | Unload | Refuse | Forget
