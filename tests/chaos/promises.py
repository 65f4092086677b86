"""What the server promises whatever happens to its processes, disks and clients: named here and nowhere else.

docs/reliability.md tells users of each; a blow is followed by a check of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from tests.chaos.census import Census
from tests.chaos.families import Ending, Request
from tests.chaos.probes import Probed


class Promise(Enum):
    ENDED = "Every request ends with an answer or an error, in the shape of its API family."
    RIGHT = "No answer is torn, mixed up with another, or cut short without a word."
    TOLD = "What a blow ends is told so within 2 s; with a process that hangs, within its watchdog's time and 2 s."
    BACK = "Service is back within 5 s, in all API families and for every model."
    SPARED = "What a blow does not touch goes on, and no process is replaced that only was slow."
    PROBED = "Probes answer within 1 s, and /readyz says 503 while a model that has to be loaded does not answer."
    NOTHING_LEFT = "No process, descriptor, channel, or runtime file is left behind."
    CAPACITY = "Every slot and every cell of the KV cache is free again."
    WHOLE = "Stored responses stay whole, and none stays in progress for ever."


TOLD_S = 2.0
PROBED_S = 1.0
BACK_S = 5.0
SETTLED_S = 10.0
"""How long what has been given up may take to be gone."""
RECOVERY_S = 10.0
"""How long after a blow a background response of a process that died is taken up again, or said to have failed."""


@dataclass(frozen=True)
class Effects:
    """What a blow may do beyond an instant's errors; no blow may do more."""

    errors: tuple[str, ...] = ()
    """API families in which requests may end with an error."""
    hurts: bool = False
    """Whether some request must have seen one, as the blow else was none."""
    unready: bool = False
    """Whether /readyz has to say 503 at some time."""
    watchdog_s: float = 0.0
    """How long it takes until somebody notices that a process hangs."""
    cuts: bool = False
    """Whether it ends connections: of a dead web worker nobody is left to say so."""
    refuses: bool = False
    """Whether nobody listens for a while."""
    replaces: tuple[str, ...] = ()
    """Roles of processes that are other ones afterwards."""
    loses_runs: bool = False
    """Whether background responses that a client has seen output of may end as failed."""
    loses_stored: bool = False
    """Whether stored responses are gone, as somebody has taken their database away."""


@dataclass
class Findings:
    """What a round has seen: broken promises, and the slowest of each kind."""

    broken: list[tuple[Promise, str]] = field(default_factory=list)
    told_s: float = 0.0
    back_s: float = 0.0
    probed_s: float = 0.0
    endings: dict[str, int] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    """What was kept with the slack for a busy machine only."""

    def breaks(self, promise: Promise, what: str) -> None:
        self.broken.append((promise, what))

    def check_time(self, promise: Promise, what: str, took_s: float, limit_s: float, slack: float) -> None:
        if took_s > limit_s * slack:
            self.breaks(promise, f"{what}: {took_s:.1f} s, not {limit_s:g} s")
        elif took_s > limit_s:
            self.late.append(f"{what}: {took_s:.1f} s, not {limit_s:g} s")


def check_requests(
    requests: Iterable[Request], struck: float, effects: Effects, slack: float, findings: Findings
) -> None:
    """Check how every request ended, and when, of those that ran at the blow or came after it."""
    noticed = struck + effects.watchdog_s
    for request in requests:
        ending = request.ending
        assert ending is not None
        findings.endings[ending.value] = findings.endings.get(ending.value, 0) + 1
        if ending is Ending.WRONG:
            findings.breaks(Promise.RIGHT, str(request))
        elif ending in _unseemly(effects):
            findings.breaks(Promise.ENDED, str(request))
        elif ending is Ending.ERROR and request.family not in effects.errors:
            findings.breaks(Promise.SPARED, str(request))
        if request.ended < struck or ending is Ending.HUNG_UP:
            continue
        since = max(request.begun, noticed)
        if ending is Ending.ANSWERED:
            limit = request.own_s + BACK_S + TOLD_S
            findings.check_time(Promise.TOLD, str(request), request.ended - since, limit, slack)
        else:
            took = request.ended - since
            findings.told_s = max(findings.told_s, took)
            findings.check_time(Promise.TOLD, str(request), took, TOLD_S, slack)

    if effects.hurts and not findings.endings.get(Ending.ERROR.value):
        findings.breaks(Promise.TOLD, "no request was told of the blow")


def check_probes(seen: Iterable[Probed], effects: Effects, slack: float, findings: Findings) -> None:
    """Check how long probes took, and what they said; where connections may end, theirs may too."""
    statuses: dict[str, set[int]] = {}
    for probed in seen:
        statuses.setdefault(probed.path, set()).add(probed.status)
        if not effects.refuses and (probed.status or not effects.cuts):
            findings.probed_s = max(findings.probed_s, probed.took_s)
            limit_s = BACK_S if effects.cuts else PROBED_S  # nobody can answer while there is no web worker
            findings.check_time(Promise.PROBED, probed.path, probed.took_s, limit_s, slack)
    allowed = {"/healthz": {200}, "/readyz": {200, 503}}
    for path, said in statuses.items():
        if wrong := said - allowed[path] - ({0} if effects.cuts else set()):
            findings.breaks(Promise.PROBED, f"{path} said {sorted(wrong)}")
    if effects.unready and 503 not in statuses["/readyz"]:
        findings.breaks(Promise.PROBED, "/readyz did not say that a model was away")


def _unseemly(effects: Effects) -> set[Ending]:
    """Return the ways in which no request may end."""
    cut = set() if effects.cuts else {Ending.CUT}
    unreached = set() if effects.refuses else {Ending.UNREACHED}
    return {Ending.HUNG, Ending.MISSHAPEN} | cut | unreached


def check_nothing_left(before: Census, after: Census, spare_sockets: int, findings: Findings) -> None:
    for name, (then, now) in after.above(before, spare_sockets).items():
        findings.breaks(Promise.NOTHING_LEFT, f"{name}: {now}, before the first blow {then}")


def check_spared(before: Census, after: Census, effects: Effects, findings: Findings) -> None:
    """Check that processes are the same ones, but for those that the blow replaces."""
    for role, members in before.by_role().items():
        gone = {process.pid for process in members} - {process.pid for process in after.processes}
        if gone and role not in effects.replaces:
            findings.breaks(Promise.SPARED, f"{role} {sorted(gone)} is another one now")
