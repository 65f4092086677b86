"""How a worker ended, how to say why, and which request is suspected of it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from localai_flask.errors import ErrorInfo, LoadCrashed, WorkerDied
from localai_flask.pool.in_hand import Mark
from localai_flask.pool.manager.table.backoff import Backoff

SUSPECTED_S = 600.0
MOST_SUSPECTS = 64
KILLS = 3
"""How often a worker is killed with a request in hand, within `SUSPECTED_S`, until that is suspected."""
FAULTS = (signal.SIGILL, signal.SIGSEGV, signal.SIGBUS)
"""Signals by which the processor stops code that is wrong for it, or wrong."""


@dataclass(frozen=True)
class Death:
    """What an ended process leaves to know."""

    exit_status: int | None
    """Exit code, or minus the signal's number; None if a former manager had started the process."""
    last_words: str = ""
    """The end of what it printed."""
    suspect: Mark | None = None
    """The request that it had in hand alone, if there was one, and who had sent it."""

    @property
    def fault(self) -> str:
        """The name of the fault that ended it; "" if it ended in another way."""
        number = -(self.exit_status or 0)
        return signal.Signals(number).name if number in FAULTS else ""

    @property
    def was_killed(self) -> bool:
        return self.exit_status in (None, -signal.SIGKILL)


class Suspects:
    """Requests with which a worker died alone in hand: not run again for a while, as the next worker would die too.

    A fault of code, or an engine that hangs, is the request's. SIGKILL, and a process that stands still, may come from
    outside, where two can meet one request by accident, so that it takes three.
    """

    def __init__(self) -> None:
        self._callers: dict[bytes, Backoff] = {}
        self._since: dict[bytes, float] = {}
        self._killed: dict[bytes, list[float]] = {}
        """When workers were killed with a request in hand, too seldom to suspect it."""

    def add(self, death: Death, now: float, *, is_certain: bool = False) -> None:
        """Suspect the request that an ended worker had in hand, if it had one alone.

        `is_certain`: the manager killed the worker for what its engine did.
        """
        if death.suspect is None:
            return
        digest = death.suspect.request
        kills = [each for each in self._killed.pop(digest, []) if now - each < SUSPECTED_S]
        if death.was_killed and not is_certain and len(kills) < KILLS - 1:
            self._killed[digest] = [*kills, now]
        else:
            self._since.pop(digest, None)
            self._since[digest] = now
        suspected: dict[bytes, Any]
        for suspected in (self._since, self._killed):
            for oldest in list(suspected)[:-MOST_SUSPECTS]:
                del suspected[oldest]

    def blame(self, caller: bytes, cooldown_s: float, now: float) -> None:
        """Count a crash against a caller, from whom no requests are taken for a while if there are more than a few."""
        crashes = self._callers.setdefault(caller, Backoff())
        crashes.crashed(now)
        if crashes.crashes_often(now):
            crashes.failed(cooldown_s, now)
        for oldest in list(self._callers)[:-MOST_SUSPECTS]:
            del self._callers[oldest]

    def digests(self, now: float) -> list[bytes]:
        """Return the digests of requests, and of callers, that are not to be taken."""
        callers = [caller for caller, crashes in self._callers.items() if not crashes.may_try(now)]
        return [digest for digest, since in self._since.items() if now - since < SUSPECTED_S] + callers


def describe_death(
    name: str, death: Death, loading: bool, because: str = "", *, is_cautious: bool = False
) -> ErrorInfo:
    """Describe in one sentence how a worker ended that did not explain itself, with the last lines it printed."""
    cause = because or _cause(death.exit_status)
    doing = "while loading the model" if loading else "while serving"
    if loading and is_cautious:
        doing += ", also without optional speed-ups"
    said = f" It last said: {death.last_words}" if death.last_words else ""
    message = f"The worker of model {name} ended {doing}: {cause}.{said}"
    error = LoadCrashed(message) if loading else WorkerDied(message)
    return error.info


def _cause(status: int | None) -> str:
    if status is None:
        return "it was started by a former manager, so its exit status is unknown"
    if status >= 0:
        return f"exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal, most of which have no name
        name = f"signal {-status}"
    hint = {
        "SIGKILL": ", perhaps the machine is out of memory; use a smaller model or context_size",
        "SIGILL": (
            ", an instruction that this processor cannot execute: the engine was built for another one, or by a "
            "compiler that makes mistakes; `localai-flask doctor` tries the engine and names the command to build it"
        ),
        "SIGSEGV": ", the engine crashed; try another model file or report it with the log",
        "SIGBUS": ", a file could not be read to its end; check the disk, or download the model again",
    }
    return f"killed by {name}{hint.get(name, '')}"
