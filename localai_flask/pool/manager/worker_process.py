"""A model worker's process as the manager holds it: started by it, or adopted from a former manager."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from localai_flask.pool import protocol
from localai_flask.pool.in_hand import read_suspect
from localai_flask.pool.protocol import WorkerSpec
from localai_flask.pool.runtime import Runtime
from localai_flask.server.child import Child, popen


class WorkerProcess(Child):
    """A child with a log: what it prints on standard output and error."""

    def __init__(self, worker_id: str, pid: int, runtime: Runtime, child: subprocess.Popen[bytes] | None = None):
        super().__init__(pid, child)
        self._log = runtime.worker_log(worker_id)
        self._hand = runtime.worker_hand(worker_id)

    @classmethod
    def start(cls, spec: WorkerSpec, runtime: Runtime) -> WorkerProcess:
        with (
            os.fdopen(os.memfd_create("localai-flask-spec"), "w+b") as stdin,  # unlike a pipe it never fills up
            open(runtime.worker_log(spec.worker_id), "wb") as output,
            open(os.dup(sys.stderr.fileno()), "wb", buffering=0) as server_log,
        ):
            stdin.write(protocol.encode(spec))
            stdin.seek(0)
            number = server_log.fileno()
            command = [sys.executable, "-m", "localai_flask.pool.worker", str(number)]
            child = popen(command, stdin=stdin, output=output, pass_fds=[number])
        return cls(spec.worker_id, child.pid, runtime, child)

    @classmethod
    def adopt(cls, worker_id: str, pid: int, runtime: Runtime) -> WorkerProcess:
        """Take over a worker that another manager started; its parent is then the arbiter, or init."""
        return cls(worker_id, pid, runtime)

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
        """Read the end of what it printed, on one line."""
        try:
            with open(self._log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
                lines = file.read().decode(errors="replace").split("\n")
        except FileNotFoundError:
            return ""
        return " | ".join(line.strip() for line in lines if line.strip())[-limit:]

    def suspect(self) -> bytes | None:
        """Return the digest of the request that the ended process had in hand alone, if there was one."""
        return read_suspect(self._hand)

    def close(self) -> None:
        """Forget an ended process and what it left."""
        super().close()
        self._log.unlink(missing_ok=True)
        self._hand.unlink(missing_ok=True)
