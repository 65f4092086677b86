"""A pool without gunicorn: the real manager and workers, with this process as their arbiter and web worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localai_flask.config.model import ModelConfig
from localai_flask.generation import Delta, Finished, Prompt
from localai_flask.pool.client.generation import Generation
from localai_flask.pool.client.pool_client import PoolClient
from localai_flask.pool.client.session import Session
from localai_flask.pool.runtime import ENV, Runtime
from localai_flask.sampling_params import SamplingParams
from tests.support import processes
from tests.support.processes import wait_for


class Pool:
    """Starts a manager in a runtime directory of its own; `close` ends all and checks that nothing is left."""

    def __init__(self, base: Path, **environment: str):
        self.runtime = Runtime.create(base)
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("LOCALAI_", "OMP_", "GOMP_"))
        }
        self.environment = {**inherited, ENV: str(self.runtime.path), **environment}
        self.client = PoolClient(self.runtime)
        self.manager = self.start_manager()

    def start_manager(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "localai_flask.pool.manager"], env=self.environment)

    def workers(self) -> list[int]:
        """The pids of the model workers that run."""
        pids = processes.belonging_to(str(self.runtime.path))
        return [pid for pid in pids if "pool.worker" in processes.command(pid)]

    def session(self, config: ModelConfig) -> Session:
        """Begin work with a loaded model."""
        session = self.client.session(config)
        for _ in session.wait_ready():
            pass
        return session

    def close(self) -> None:
        try:
            processes.end(self.manager)
            wait_for(lambda: not processes.belonging_to(str(self.runtime.path)), 10, "all processes of the pool gone")
        finally:
            for pid in processes.belonging_to(str(self.runtime.path)):
                os.kill(pid, signal.SIGKILL)
            self.runtime.remove()


class LoggedPool(Pool):
    """A pool whose log can be read: appended to a file, so that no process writes over another's words."""

    def start_manager(self) -> subprocess.Popen[bytes]:
        self.log_file = self.runtime.path.parent / "pool.log"
        with open(self.log_file, "ab") as log:
            command = [sys.executable, "-m", "localai_flask.pool.manager"]
            return subprocess.Popen(command, env=self.environment, stderr=log)

    def count(self, text: str) -> int:
        return self.log_file.read_text().count(text)


def echo(name: str = "echo", *options: str, **fields: Any) -> ModelConfig:
    """A scripted echo model."""
    return ModelConfig(name=name, backend="echo", options=("scripted", *options), **fields)


def ask(session: Session, text: str, **sampling: Any) -> Generation:
    return session.generate([(Prompt(text), SamplingParams(**sampling))])


def texts(generation: Generation, beat: float = 0.5) -> Iterator[str]:
    """The text of each delta as it comes; closes the generation at the end."""
    try:
        for event in generation.events(beat):
            if event is not None and isinstance(event[1], Delta):
                yield event[1].text
    finally:
        generation.close()


def whole(generation: Generation) -> tuple[str, Finished]:
    """The whole answer and its last word."""
    text, finished = "", None
    try:
        for event in generation.events():
            if event is not None and isinstance(event[1], Delta):
                text += event[1].text
            elif event is not None and isinstance(event[1], Finished):
                finished = event[1]
    finally:
        generation.close()
    assert finished is not None
    return text, finished
