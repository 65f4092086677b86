"""Lent machines: `localai-flask worker llama-cpp-rpc` on free ports of loopback."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from types import TracebackType

from tests.support.processes import end, end_group, wait_for
from tests.support.server import free_port


class RpcWorker:
    """One such process; a context manager that ends it."""

    def __init__(self, *arguments: str):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._arguments = arguments
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> RpcWorker:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop(signal.SIGTERM)

    def start(self) -> None:
        command = [sys.executable, "-m", "localai_flask", "worker", "llama-cpp-rpc", "--address", self.address]
        self.process = subprocess.Popen(
            [*command, "--threads", "1", *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_for(self._listens, 30, f"an RPC server at {self.address}")
        except BaseException:
            end_group(self.process)
            raise

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and give the exit status."""
        assert self.process is not None
        return end(self.process, number)

    def _listens(self) -> bool:
        assert self.process is not None and self.process.poll() is None
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
