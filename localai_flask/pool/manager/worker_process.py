"""A model worker's process as the manager holds it: started by it, or adopted from a former manager."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from localai_flask.backends.environments import interpreter
from localai_flask.backends.environments.folder import Environment
from localai_flask.pool import protocol
from localai_flask.pool.in_hand import Mark, read_suspect
from localai_flask.pool.model_logs import LOGGED, ModelLogs, read_end
from localai_flask.pool.protocol import WorkerSpec
from localai_flask.pool.runtime import Runtime
from localai_flask.server.processes.child import Child, popen

log = logging.getLogger(__name__)

MODULE = "localai_flask.pool.worker"


class WorkerProcess(Child):
    """A child that prints to its model's log."""

    def __init__(
        self, worker_id: str, pid: int, model: str, runtime: Runtime, child: subprocess.Popen[bytes] | None = None
    ):
        super().__init__(pid, child)
        self._model = model
        self._logs = ModelLogs(runtime.path)
        self._log_begin = 0
        """Where in the log this process began."""
        self._hand = runtime.worker_hand(worker_id)

    @classmethod
    def start(
        cls, spec: WorkerSpec, model: str, runtime: Runtime, environment: Environment | None = None
    ) -> WorkerProcess:
        """Start a worker on an environment, or without; raise `OSError` if that cannot be."""
        with (
            os.fdopen(os.memfd_create("localai-flask-spec"), "w+b") as stdin,  # unlike a pipe it never fills up
            ModelLogs(runtime.path).open(model) as output,
            open(os.dup(sys.stderr.fileno()), "wb", buffering=0) as server_log,
        ):
            stdin.write(protocol.encode(spec))
            stdin.seek(0)
            number = server_log.fileno()
            command, variables = _interpreter(environment, runtime, str(number))
            begin = os.fstat(output.fileno()).st_size
            with _held_lock(runtime, spec.worker_id) as lock, _held_environment(environment) as held:
                fds = [number, *lock, *held]
                child = popen(command, environment=variables, stdin=stdin, output=output, pass_fds=fds)
        process = cls(spec.worker_id, child.pid, model, runtime, child)
        process._log_begin = begin
        return process

    @classmethod
    def adopt(cls, worker_id: str, pid: int, model: str, runtime: Runtime) -> WorkerProcess:
        """Take over a worker that another manager started; its parent is then the arbiter, or init."""
        return cls(worker_id, pid, model, runtime)

    def retire(self) -> None:
        """Ask it to take no more requests, and to leave when it has none."""
        self.send(signal.SIGUSR1)

    def terminate(self) -> None:
        """Ask it to finish what it runs within its grace, and leave."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once; a stopped or hung process hears nothing else."""
        self.send(signal.SIGKILL)

    def last_words(self, limit: int = 300) -> str:
        """Read the end of what it printed, but for what it logged, on one line."""
        lines = read_end(self._logs.path(self._model), 4096, self._log_begin)
        return " | ".join(line.strip() for line in lines if not LOGGED.match(line))[-limit:]

    def note_end(self, message: str) -> None:
        """Write how it ended into its model's log, for whoever reads that."""
        now = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        try:
            with self._logs.open(self._model) as file:
                file.write(f"[{now}] [{os.getpid()}] [ERROR] {message}\n".encode(errors="replace"))
        except OSError as error:
            log.warning("the log of model %s cannot be written: %s", self._model, error)

    def suspect(self) -> Mark | None:
        """Return the mark of the request that the ended process had in hand alone, if there was one."""
        return read_suspect(self._hand)

    def close(self) -> None:
        """Forget an ended process and what it left."""
        super().close()
        self._hand.unlink(missing_ok=True)


def _interpreter(
    environment: Environment | None, runtime: Runtime, *arguments: str
) -> tuple[list[str], dict[str, str] | None]:
    """Return the command of a worker, and its variables if they differ from ours."""
    if environment is None or environment.program is not None:
        return [sys.executable, "-m", MODULE, *arguments], None
    links = interpreter.link_package(runtime.path)
    python = environment.python
    return interpreter.module_command(python, MODULE, *arguments), interpreter.module_environment(python, links)


@contextmanager
def _held_environment(environment: Environment | None) -> Iterator[list[int]]:
    """Yield what keeps an environment from being deleted, for the worker to inherit."""
    if environment is None:
        yield []
        return
    held = environment.hold()
    try:
        yield [held]
    finally:
        os.close(held)


@contextmanager
def _held_lock(runtime: Runtime, worker_id: str) -> Iterator[list[int]]:
    """Yield the lock that shows a manager to come that a worker lives, for the worker to inherit.

    Without it, as where the folder's disk is full, such a manager does not wait for the worker to register.
    """
    try:
        lock = runtime.lock_worker_hand(worker_id)
    except OSError as error:
        log.warning("%s", error)
        yield []
        return
    try:
        yield [lock]
    finally:
        os.close(lock)
