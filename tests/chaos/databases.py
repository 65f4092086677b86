"""Blows to PostgreSQL: stopped, crashed, started anew, and connections that it drops."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.chaos.blows import Blow
from tests.chaos.promises import Effects
from tests.chaos.stage import Stage
from tests.support import postgres, processes

GIVEN_UP_S = 10.0
"""How long a database may take to answer (localai_flask/store/database.py)."""
LOST = Effects(("responses",), loses_runs=True)


@contextmanager
def _drop_connections(stage: Stage, rng: random.Random) -> Iterator[None]:
    assert stage.postgres is not None
    others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
    query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
    psql = [stage.postgres.bin / "psql", "-q", "-h", stage.postgres.folder, "-U", postgres.USER, "-c", query]
    subprocess.run(psql, check=True, stdout=subprocess.DEVNULL)
    yield


@contextmanager
def _crash(stage: Stage, rng: random.Random) -> Iterator[None]:
    """Kill the process of one connection, upon which PostgreSQL ends all and recovers."""
    assert stage.postgres is not None
    os.kill(rng.choice(postgres.processes(stage.postgres.url)[1:]), signal.SIGKILL)
    yield


@contextmanager
def _pause(stage: Stage, rng: random.Random) -> Iterator[None]:
    """Have the database stand still: it accepts, and never answers."""
    assert stage.postgres is not None
    with processes.stopped(postgres.processes(stage.postgres.url)):
        yield


@contextmanager
def _stop(stage: Stage, rng: random.Random) -> Iterator[None]:
    assert stage.postgres is not None
    stage.postgres.stop()
    try:
        yield
    finally:
        stage.postgres.start()


POSTGRES_BLOWS = [
    Blow("drop all connections of PostgreSQL", _drop_connections, LOST),
    Blow("crash PostgreSQL", _crash, LOST),
    Blow("stop PostgreSQL", _stop, replace(LOST, hurts=True), lasts_s=3.0),
    Blow("restart PostgreSQL", _stop, LOST),
    Blow("pause PostgreSQL", _pause, replace(LOST, watchdog_s=GIVEN_UP_S), lasts_s=GIVEN_UP_S),
]
