"""One running program: started, waited for until its model is loaded, watched, and ended with this process."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2

from localai_flask.backends.over_http.http_thread import HttpThread, Refused
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import file_bytes
from localai_flask.errors import ModelLoadFailed
from localai_flask.server.processes import bound

LOOK_S = 0.1
GRACE_S = 5.0
"""How long a program gets to end by itself."""
ENDING_S = 0.5
LOADED_SHARE = 0.95
"""How much of the progress is that the file lies in memory."""


class Process:
    """A program that listens on a port of this machine, for those who have its key."""

    def __init__(self, program: Path, arguments: Sequence[str], config: EngineConfig):
        self._config = config
        self._key = secrets.token_hex(16)
        self._port = _free_port()
        self._ended = asyncio.Event()
        self._child = self._start(program, arguments)
        self._pidfd = os.pidfd_open(self._child.pid)
        self.http = HttpThread(
            f"http://127.0.0.1:{self._port}",
            {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            read_s=None,
        )

    def _start(self, program: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start the program; its key is in a file without a name, so that no list of processes shows it."""
        key = os.memfd_create("key", 0)
        try:
            os.write(key, self._key.encode())
            command = [sys.executable, bound.__file__, str(os.getpid()), str(program), *arguments]
            command += ["--host", "127.0.0.1", "--port", str(self._port), "--api-key-file", f"/proc/self/fd/{key}"]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[key])
        finally:
            os.close(key)

    def await_model(self, progress: Callable[[float], None]) -> None:
        """Wait until the model is loaded; raise `ModelLoadFailed` if the program ends before."""
        size = file_bytes(self._config) or 1
        while not self._is_ready():
            if self.exit_status is not None:
                raise ModelLoadFailed(
                    f"Model {self._config.name}: the program of the {self._config.backend} backend could not load it "
                    f"and ended ({self.ending}); what it said is in the model's log."
                )
            progress(min(self.resident_bytes() / size, 1.0) * LOADED_SHARE)
            time.sleep(LOOK_S)

    def _is_ready(self) -> bool:
        try:
            self.http.begin(self.http.ask("GET", "/health")).result()
        except (httpx2.HTTPError, Refused):
            return False
        return self.exit_status is None

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        return self._child.poll()

    @property
    def ending(self) -> str:
        """How the program has ended."""
        status = self.exit_status
        if status is not None and status < 0:
            return f"by {signal.Signals(-status).name}"
        return f"exit status {status}"

    def watch(self, call: Callable[[], None]) -> None:
        """Have a function called, from another thread, as soon as the program has ended."""
        self.http.begin(self._await_end(call))

    async def _await_end(self, call: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, self._ended.set)
        try:
            await self._ended.wait()
        finally:
            loop.remove_reader(self._pidfd)
        call()

    async def has_ended(self) -> bool:
        """Return whether the program is ending, which its connections show before the kernel does."""
        try:
            await asyncio.wait_for(self._ended.wait(), ENDING_S)
        except TimeoutError:
            return False
        return True

    def resident_bytes(self) -> int:
        """Return how much of the program lies in memory."""
        try:
            pages = Path(f"/proc/{self._child.pid}/statm").read_text().split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        """End the program, and wait for that."""
        try:
            self.http.stop()
        finally:
            self._child.terminate()
            try:
                self._child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            os.close(self._pidfd)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
