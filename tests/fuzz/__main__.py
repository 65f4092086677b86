"""Sends the requests of all sources, and prints what it found."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from localai_flask.pool.runtime import ENV
from tests.fuzz import sources
from tests.fuzz.in_process import InProcess
from tests.fuzz.live import Live
from tests.fuzz.stage import MORE_BYTES, Fault, Stage, Target

HANGS_S = 60
"""After which the run ends, and says where it stands."""


def run(stage: Stage, seed: int, count: int) -> None:
    for number, request in enumerate(sources.requests(seed, count)):
        if number == count // sources.WARMING_UP:
            stage.begin_to_weigh()
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        stage.send(request)
    faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def make_target(kind: str, random: Random) -> Iterator[Target]:
    """Make what is asked: the application with a scripted engine, or a running server with its small model."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        os.environ[ENV] = folder
        target: Target = Live(Path(folder)) if kind == "live" else InProcess(Path(folder), random)
        stack.callback(target.close)
        yield target


def show(fault: Fault) -> None:
    request = fault.request
    print(f"--- {fault.count} x {fault.what}")
    print(f"    {request.method} {request.path} {request.headers}"[:600])
    print(f"    {request.body[:1500]!r}")
    print(f"    {fault.answer[:300]!r} \u2026 {fault.answer[-200:]!r}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=["scripted", "live"], default="scripted")
    asked = parser.parse_args()
    begun, random = time.monotonic(), Random(asked.seed)
    with make_target(asked.target, random) as target:
        stage = Stage(target, random)
        run(stage, asked.seed, asked.requests)
        grown = stage.grown
    for fault in sorted(stage.faults.values(), key=lambda each: -each.count):
        show(fault)
    print(
        f"seed {asked.seed}, {asked.target}: {stage.count} requests in {time.monotonic() - begun:.0f} s, "
        f"{len(stage.faults)} faults; the slowest took {stage.slowest:.2f} s, memory grew by {grown / 1e6:.0f} MB, "
        f"statuses {dict(sorted(stage.statuses.items()))}"
    )
    return 1 if stage.faults or grown > MORE_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
