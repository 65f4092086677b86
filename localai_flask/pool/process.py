"""A model worker's process as the manager holds it: started by it, or adopted from a former manager."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

from localai_flask.pool import protocol
from localai_flask.pool.protocol import WorkerSpec
from localai_flask.pool.runtime import Runtime


class WorkerProcess:
    """Liveness comes from a pidfd, which also works for adopted processes and cannot take a recycled pid for them."""

    def __init__(self, worker_id: str, pid: int, runtime: Runtime, child: subprocess.Popen[bytes] | None):
        self.pid = pid
        self._child = child
        self._log = runtime.worker_log(worker_id)
        self._pidfd: int | None = None
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            pass  # an adopted worker may have died since it registered: it has ended

    @classmethod
    def start(cls, spec: WorkerSpec, runtime: Runtime) -> WorkerProcess:
        """Start a fresh interpreter, never a fork: engines with CUDA or threads do not survive one."""
        with (
            os.fdopen(os.memfd_create("localai-flask-spec"), "w+b") as stdin,  # unlike a pipe it never fills up
            open(runtime.worker_log(spec.worker_id), "wb") as stderr,
            open(os.dup(sys.stderr.fileno()), "wb", buffering=0) as server_log,
        ):
            stdin.write(protocol.encode(spec))
            stdin.seek(0)
            child = subprocess.Popen(
                [sys.executable, "-m", "localai_flask.pool.worker", str(server_log.fileno())],
                stdin=stdin,
                stdout=stderr,
                stderr=stderr,
                pass_fds=[server_log.fileno()],
                start_new_session=True,  # a Ctrl-C in the terminal is the arbiter's to handle
            )
        return cls(spec.worker_id, child.pid, runtime, child)

    @classmethod
    def adopt(cls, worker_id: str, pid: int, runtime: Runtime) -> WorkerProcess:
        """Take over a worker that another manager started; its parent is then the arbiter, or init."""
        return cls(worker_id, pid, runtime, None)

    @property
    def ended(self) -> bool:
        if self._child is not None:
            return self._child.poll() is not None
        return self._pidfd is None or bool(select.select([self._pidfd], [], [], 0)[0])

    @property
    def exit_status(self) -> int | None:
        """Exit code, or minus the signal's number; None if unknown."""
        return self._child.returncode if self._child is not None else None

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end, and reap it if it is our child."""
        if self._pidfd is not None:
            select.select([self._pidfd], [], [], max(0.0, timeout_s))
        return self.ended

    def terminate(self) -> None:
        """Ask it to finish what it runs and leave."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once; a stopped or hung process hears nothing else."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd is None:
            return
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass  # it ended meanwhile

    def last_words(self, limit: int = 300) -> str:
        """Read the end of what it printed on standard error, on one line."""
        try:
            with open(self._log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = file.read().decode(errors="replace").split("\n")
        except FileNotFoundError:
            return ""
        return " | ".join(line.strip() for line in lines if line.strip())[-limit:]

    def close(self) -> None:
        """Forget an ended process and what it printed."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        self._log.unlink(missing_ok=True)
