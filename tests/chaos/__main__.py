"""`python -m tests.chaos`: blows in a random order, for minutes; prints its seed and a table of what was seen."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path

from tests.chaos.blows import BLOWS, Blow
from tests.chaos.databases import POSTGRES_BLOWS
from tests.chaos.disks import DISK_BLOWS, enter_namespace, has_mounts, mount_small_disks, unmount_small_disks
from tests.chaos.promises import Findings
from tests.chaos.rounds import play
from tests.chaos.stage import Stage
from tests.support import postgres


def main() -> int:
    given = _arguments().parse_args()
    enter_namespace()
    print(
        f"seed {given.seed}" if has_mounts() else f"seed {given.seed}; no blows to disks, which need root", flush=True
    )
    deadline, broken, passes = time.monotonic() + 60 * given.minutes, 0, 0
    while passes == 0 or time.monotonic() < deadline:
        for database, blows in CAMPAIGNS.items():
            chosen = [blow for blow in blows() if any(fnmatch(blow.name, part) for part in given.only.split(","))]
            random.Random(f"{given.seed}/{passes}").shuffle(chosen)
            if chosen:
                with folder_for(given.keep) as folder, stage_in(folder, database) as stage:
                    broken += sum(_strike(stage, blow, given.seed + passes, given.slack) for blow in chosen)
        passes += 1
    print(f"{broken} broken promises; seed {given.seed}")
    return min(broken, 1)


def _arguments() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10.0, help="how long; each blow comes at least once")
    arguments.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="as a former run has printed it")
    arguments.add_argument("--slack", type=float, default=1.0, help="how many times slower a busy machine may be")
    arguments.add_argument("--only", default="*", help="names of blows, separated by commas; * stands for anything")
    arguments.add_argument("--keep", default="", help="a folder to which the server's logs are copied at the end")
    return arguments


CAMPAIGNS = {
    "sqlite": lambda: [*BLOWS, *(DISK_BLOWS if has_mounts() else ())],
    "postgresql": lambda: POSTGRES_BLOWS,
}
"""By the database that the server has."""


def _strike(stage: Stage, blow: Blow, seed: int, slack: float) -> int:
    begun = time.monotonic()
    findings = play(stage, blow, seed, slack)
    print(describe(blow, findings, time.monotonic() - begun), flush=True)
    return len(findings.broken)


@contextmanager
def folder_for(keep: str) -> Iterator[Path]:
    """Make a folder for all that a run writes; what is kept of it are the server's logs."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        yield folder
    finally:
        if keep:
            for log in folder.rglob("server*.log"):
                shutil.copy(log, keep)
        unmount_small_disks(folder)
        shutil.rmtree(folder)


@contextmanager
def stage_in(folder: Path, database: str) -> Iterator[Stage]:
    with ExitStack() as stack:
        if database == "postgresql":
            yield stack.enter_context(Stage(folder, stack.enter_context(postgres.controlled())))
            return
        if has_mounts():
            mount_small_disks(folder)
        yield stack.enter_context(Stage(folder))


def describe(blow: Blow, findings: Findings, took_s: float) -> str:
    endings = ", ".join(f"{count} {ending}" for ending, count in sorted(findings.endings.items()))
    times = f"told in {findings.told_s:.1f} s, back in {findings.back_s:.1f} s, probed in {findings.probed_s:.1f} s"
    head = f"{blow.name:<40} {times}, {endings} ({took_s:.0f} s)"
    notes = [f"    late: {late}" for late in findings.late[:5]]
    faults = [f"    BROKEN {promise.name}: {what}" for promise, what in findings.broken[:20]]
    return "\n".join([head, *notes, *faults])


if __name__ == "__main__":
    sys.exit(main())
