"""The server that is struck, with all that it keeps: folders and a database."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.census import Census
from tests.chaos.load import ECHO, TOY
from tests.support import processes
from tests.support.postgres import PostgresServer
from tests.support.processes import wait_for
from tests.support.server import Server

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo.gguf"
ECHO_SLOTS, TOY_SLOTS, TOY_CONTEXT = 8, 2, 512
WEB_WORKERS, MODELS = 2, 2
ENGINE_STALL_S = 3.0
SILENCES = {"model worker": 3.0, "web worker": 7.0, "manager": 10.0, "background process": 15.0}
"""After how long each counts as hung. Those of the last two stand in localai_flask/server/gunicorn_settings.py, the
others are set here, shorter than their defaults."""
POOLED = 5
"""Connections to a database server that a process keeps, once requests have needed that many at a time."""
UNFINISHED = ("queued", "in_progress")


class Stage:
    """A server with two web workers and two models: the scripted echo, and the toy in the real engine."""

    def __init__(self, scratch: Path, postgres: PostgresServer | None = None):
        self.scratch = scratch
        self.state, self.runtime = scratch / "state", scratch / "run"
        for folder in (self.state, self.runtime):
            folder.mkdir(parents=True, exist_ok=True)
        self.models = scratch / "models"
        self.models.mkdir()
        (self.models / "demo.gguf").symlink_to(DEMO)
        (self.models / f"{ECHO}.yaml").write_text(
            f"name: {ECHO}\nbackend: echo\noptions: [scripted, 'slots:{ECHO_SLOTS}']\n"
        )
        (self.models / f"{TOY}.yaml").write_text(
            f"name: {TOY}\nbackend: llama-cpp\ncontext_size: {TOY_CONTEXT}\nthreads: 1\n"
            f"parameters: {{model: demo.gguf, temperature: 0}}\noptions: ['parallel:{TOY_SLOTS}', 'cache_ram:2']\n"
        )
        self.postgres = postgres
        self.baseline: Census | None = None
        """What was there before the first blow."""
        self.counted: Census | None = None
        """What was there after the last one."""
        self.spare_sockets = 0 if postgres is None else WEB_WORKERS * POOLED
        self.server = self._new_server()

    def _new_server(self) -> Server:
        return Server(
            self.models,
            self.runtime,
            XDG_STATE_HOME=str(self.state),
            LOCALAI_LOAD_TO_MEMORY=f"{ECHO},{TOY}",
            LOCALAI_WORKERS=str(WEB_WORKERS),
            LOCALAI_GRACEFUL_TIMEOUT="4",
            LOCALAI_WORKER_SILENCE_TIMEOUT=str(SILENCES["model worker"]),
            LOCALAI_ENGINE_STALL_TIMEOUT=str(ENGINE_STALL_S),
            LOCALAI_DATABASE_URL=self.postgres.url if self.postgres else "",
            GUNICORN_CMD_ARGS=f"--timeout {SILENCES['web worker'] - 1:.0f}",
        )

    def __enter__(self) -> Stage:
        self.server.__enter__()
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        self.server.__exit__(kind, *rest)

    def start_anew(self) -> None:
        """Start another server in the same folders, after the one before has been ended."""
        runtime = self.server.runtime_dir()
        wait_for(lambda: not processes.belonging_to(runtime), 10, "all processes of the killed server gone")
        port = self.server.port
        self.server = self._new_server()
        self.server.port = port
        self.server.url = f"http://127.0.0.1:{port}"
        self.server.environment["LOCALAI_ADDRESS"] = f"127.0.0.1:{port}"
        self.server.log_file = self.runtime / f"server-{time.monotonic_ns()}.log"
        self.server.__enter__()

    def pids(self, role: str) -> list[int]:
        server = self.server
        assert server.process is not None
        return {
            "arbiter": lambda: [server.process.pid] if server.process else [],
            "web worker": server.web_workers,
            "manager": server.managers,
            "model worker": server.model_workers,
            "background process": server.background_workers,
        }[role]()

    # --- what is stored

    @property
    def database(self) -> Path:
        (found,) = self.state.rglob("*.db")
        return found

    def queue_runs(self, count: int, model: str = ECHO) -> list[str]:
        """Have background responses begun; return the ids of those that were accepted."""
        said = (
            json.dumps({"say": "x" * 40, "pace_ms": 50})
            if model == ECHO
            else f"Tell me a story about {time.monotonic_ns()}."
        )
        body = {"model": model, "background": True, "input": said}
        answers = [self.server.post("/v1/responses", body) for _ in range(count)]
        return [answer["id"] for status, answer in answers if status == 200]

    def get(self, id: str) -> tuple[int, Any]:
        """Fetch a stored response."""
        done = subprocess.run(
            ["curl", "-s", "-m", "10", "-w", "\n%{http_code}", f"{self.server.url}/v1/responses/{id}"],
            capture_output=True,
            text=True,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), json.loads(body or "null")

    def await_runs(self, ids: list[str], deadline: float) -> None:
        for id in ids:
            while self.get(id)[1]["status"] in UNFINISHED and time.monotonic() < deadline:
                time.sleep(0.1)

    def unfinished_rows(self) -> int:
        return int(self._ask_database(f"SELECT count(*) FROM responses WHERE status IN {UNFINISHED}"))

    def integrity(self) -> str:
        return "ok" if self.postgres else self._ask_database("PRAGMA integrity_check")

    def _ask_database(self, query: str) -> str:
        if self.postgres:
            with psycopg.connect(self.postgres.url, connect_timeout=20) as connection:
                return str(connection.execute(query).fetchone()[0])
        with contextlib.closing(sqlite3.connect(self.database, timeout=20)) as database:
            return str(database.execute(query).fetchone()[0])
