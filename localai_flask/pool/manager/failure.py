"""When to try a failed model again, and how to say why its worker died."""

from __future__ import annotations

import signal
import time
from collections import deque

from localai_flask.errors import ErrorInfo, LoadCrashed, WorkerDied
from localai_flask.pool.manager.worker_process import WorkerProcess

LONGEST_COOLDOWN_S = 300.0
CRASH_WINDOW_S = 600.0
CRASHES_ALLOWED = 3
MOST_CRASHES = 16
SUSPECTED_S = 600.0
MOST_SUSPECTS = 64
FAULTS = (signal.SIGILL, signal.SIGSEGV, signal.SIGBUS)
"""Signals by which the processor stops code that is wrong for it, or wrong."""


class Backoff:
    """Count failures: each failed load doubles the wait; crashes once loaded are forgiven unless they come often."""

    def __init__(self) -> None:
        self.failures = 0
        self.retry_at = 0.0
        self.crashes: deque[float] = deque(maxlen=MOST_CRASHES)

    @property
    def may_try(self) -> bool:
        return time.monotonic() >= self.retry_at

    @property
    def crashes_often(self) -> bool:
        return self._surplus_crashes > 0

    @property
    def _surplus_crashes(self) -> int:
        begin = time.monotonic() - CRASH_WINDOW_S
        return max(0, sum(moment > begin for moment in self.crashes) - CRASHES_ALLOWED)

    def failed(self, cooldown_s: float) -> None:
        """Wait longer each time: a load that succeeds makes up for failed ones, and not for crashes behind it."""
        self.failures = max(self.failures + 1, self._surplus_crashes)
        self.retry_at = time.monotonic() + min(LONGEST_COOLDOWN_S, cooldown_s * 2 ** (self.failures - 1))

    def crashed(self) -> None:
        self.crashes.append(time.monotonic())

    def succeeded(self) -> None:
        self.failures, self.retry_at = 0, 0.0


class Suspects:
    """Requests with which a worker died alone in hand: not run again for a while, as the next worker would die too.

    A fault of code, or a hang, is the request's. SIGKILL may come from outside, so that it takes two.
    """

    def __init__(self) -> None:
        self._since: dict[bytes, float] = {}
        self._killed: dict[bytes, float] = {}
        """When a worker was killed with a request in hand, once."""

    def add(self, digest: bytes | None, process: WorkerProcess, because: str) -> None:
        """Suspect the request that an ended process had in hand, if it had one alone; `because`: why we ended it."""
        if digest is None:
            return
        now = time.monotonic()
        was_killed = not because and process.exit_status in (None, -signal.SIGKILL)
        if was_killed and now - self._killed.pop(digest, -SUSPECTED_S) >= SUSPECTED_S:
            self._killed[digest] = now
        else:
            self._since.pop(digest, None)
            self._since[digest] = now
        for suspected in (self._since, self._killed):
            for oldest in list(suspected)[:-MOST_SUSPECTS]:
                del suspected[oldest]

    def digests(self) -> list[bytes]:
        now = time.monotonic()
        return [digest for digest, since in self._since.items() if now - since < SUSPECTED_S]


def fault_of(process: WorkerProcess) -> str:
    """Return the name of the fault that ended a process; "" if it ended in another way."""
    status = process.exit_status
    return signal.Signals(-status).name if status is not None and -status in FAULTS else ""


def describe_death(
    name: str, process: WorkerProcess, loading: bool, because: str = "", *, is_cautious: bool = False
) -> ErrorInfo:
    """Say in one sentence how a worker ended that did not explain itself, with the last lines it printed."""
    cause = because or _cause(process.exit_status)
    doing = "while loading the model" if loading else "while serving"
    if loading and is_cautious:
        doing += ", also without optional speed-ups"
    said = process.last_words()
    message = f"The worker of model {name} ended {doing}: {cause}." + (f" It last said: {said}" if said else "")
    error = LoadCrashed(message) if loading else WorkerDied(message)
    return error.info


def _cause(status: int | None) -> str:
    if status is None:
        return "it was started by a former manager, so its exit status is unknown"
    if status >= 0:
        return f"exit code {status}"
    name = signal.Signals(-status).name
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
