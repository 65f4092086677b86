"""The whole server as a user starts it: `localai-flask serve` on a free port of loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.processes import wait_for


class Server:
    """One running server; a context manager that stops it and checks that nothing is left behind."""

    def __init__(self, models: Path | None, scratch: Path, *, descriptors: int | None = None, **environment: str):
        """Make one that may open `descriptors` at most in each process, if that is given."""
        self.descriptors = descriptors
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.scratch = scratch
        self.log_file = scratch / "server.log"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("LOCALAI_", "OMP_", "GOMP_"))},
            **({"LOCALAI_MODELS_PATH": str(models)} if models else {}),
            "LOCALAI_ADDRESS": f"127.0.0.1:{self.port}",
            "XDG_RUNTIME_DIR": str(scratch),
            "XDG_STATE_HOME": str(scratch / "state"),
            "LOCALAI_PROMPT_CACHE_SIZE": "0",
            **environment,
        }
        self.command = [sys.executable, "-m", "localai_flask", "serve"]
        self.arguments: list[str] = []
        """Flags of the command; set them before the server starts."""
        self.awaited = "/readyz"
        """What answers 200 once the server counts as started."""
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self._start()
        assert self.process is not None
        try:
            wait_for(self._settled, 30, "the server is ready")
            assert self.process.poll() is None, self.log()
        except BaseException:
            self._end_all()
            print(self.log())
            raise
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        assert self.process is not None
        runtime = self.runtime_dir()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
            wait_for(lambda: not processes.belonging_to(runtime), 5, f"all processes of {runtime} gone")
            assert not Path(runtime).exists(), "the runtime directory was left behind"
        finally:
            self._end_all()
            if kind is not None:
                print(self.log())

    @contextmanager
    def launched(self, pass_fds: Sequence[int] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """Start the server without waiting for it, as for a test of how it begins and ends; leave nothing behind."""
        process = self._start(pass_fds)
        try:
            yield process
        finally:
            self._end_all()

    def _start(self, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [*self._limited(), *self.command, *self.arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        return self.process

    def _end_all(self) -> None:
        assert self.process is not None
        left = processes.belonging_to(self.runtime_dir())
        processes.end_group(self.process)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _limited(self) -> list[str]:
        return [] if self.descriptors is None else ["sh", "-c", f'ulimit -n {self.descriptors}; exec "$@"', "sh"]

    def _settled(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None or (self.status(self.awaited) == 200 and self._has_all_web_workers())

    def _has_all_web_workers(self) -> bool:
        """Return whether not only the first web worker is there, as tests compare who is there later."""
        flags = [each.partition("=")[2] for each in self.arguments if each.startswith("--workers=")]
        wanted = int((flags or [self.environment.get("LOCALAI_WORKERS") or "2"])[0])
        return "serve" not in self.command or len(self.web_workers()) >= wanted

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def runtime_dir(self) -> str:
        assert self.process is not None
        found = list(self.scratch.glob(f"localai-flask-{self.process.pid}-*"))
        return str(found[0]) if found else str(self.scratch / "never-made")

    def _with(self, part: str) -> list[int]:
        return [pid for pid in processes.belonging_to(self.runtime_dir()) if part in processes.command(pid)]

    def managers(self) -> list[int]:
        return self._with("pool.manager")

    def model_workers(self) -> list[int]:
        return self._with("pool.worker")

    def background_workers(self) -> list[int]:
        return self._with("background.runner")

    def web_workers(self) -> list[int]:
        assert self.process is not None
        return [pid for pid in processes.children(self.process.pid) if "localai_flask serve" in processes.command(pid)]

    def status(self, path: str) -> int:
        """The status of a GET, or 0 if nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def await_quiet(self, model: str) -> None:
        """Wait until a model's file, which the test has just written, no longer counts as one that is being copied."""
        asked = {"model": model, "prompt": "a", "max_tokens": 1}
        wait_for(lambda: self.post("/v1/completions", asked)[0] != 503, 20, f"the file of {model} is quiet")

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None, timeout: float = 30) -> tuple[int, Any]:
        """The status and JSON of a POST; `body` may be bytes to send them as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **(headers or {})}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return int(answer.status), json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


Start = Callable[..., Server]
"""Starts a server with variables of its environment."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
