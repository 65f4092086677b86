"""Both servers with the same model: this one, and llama.cpp's `llama-server`, one model at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cost import memory_mb
from benchmarks.models import model_file
from tests.support import processes
from tests.support.server import Server, free_port

READY_S = 120
VARIABLE = "LOCALAI_LLAMA_SERVER"
SHAPED = "threads: 1\ncontext_size: 2048\noptions: ['parallel:8', 'threads_batch:1']\n"
"""How *micro* is served: with threads for each core two processes would fight for them at each token."""


class Setting(NamedTuple):
    """The file that a model is, what our YAML says beyond it, and the options of `llama-server` to the same end."""

    file: str
    yaml: str = ""
    options: tuple[str, ...] = ()


SETTINGS = {
    "smollm2": Setting("smollm2"),
    "gemma": Setting("gemma"),
    "wide": Setting("wide"),
    "micro": Setting("micro", SHAPED, ("-np", "8", "-c", str(8 * 2048), "-t", "1", "-tb", "1")),
    "embed": Setting("smollm2", "embeddings: true\n", ("--embeddings", "--pooling", "mean", "-ub", "2048")),
    "deterministic": Setting("smollm2", "deterministic: true\n"),
    "long": Setting("gemma", "context_size: 20480\noptions: ['parallel:2']\n", ("-np", "2", "-c", "40960")),
}
"""What has no words of its own is served by both as they do by themselves."""


def find_peer() -> str | None:
    """Return the program to compare with: what the setting names, or what is on PATH."""
    named = os.environ.get(VARIABLE)
    return named if named and Path(named).is_file() else shutil.which("llama-server")


class Stage:
    """Holds the two servers of the model in use; `remembered` is what one row has measured for another."""

    def __init__(self, scratch: Path, kept: Path, binary: str):
        """`kept` is a folder that keeps the models for the next time."""
        self._scratch, self._kept, self._binary = scratch, kept, binary
        self._open = ExitStack()
        self.model = ""
        self.remembered: dict[str, Any] = {}
        self.server: Server
        self.peer: subprocess.Popen[bytes]
        self.ports: tuple[int, int] = 0, 0
        """Ours and theirs."""

    def use(self, model: str) -> None:
        """Serve a model with both, unless they do already; both have just been started then."""
        if model == self.model:
            return
        self.close()
        setting = SETTINGS[model]
        file = model_file(self._kept, setting.file)
        folder = self._scratch / "models" / model
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / f"{model}.gguf"  # by which the process that holds it is found
        if not copy.exists():
            shutil.copyfile(file, copy)
        if setting.yaml:
            text = f"name: {model}\nparameters: {{model: {model}.gguf}}\n{setting.yaml}"
            (folder / f"{model}.yaml").write_text(text)
        self._file = copy
        self.model, self.remembered = model, {}
        self._start_ours()
        self._open.enter_context(self._serve_peer(copy, *setting.options))

    def close(self) -> None:
        self._open.close()
        self.model = ""

    def engine_mb(self) -> tuple[float, float]:
        """Return the memory of the process that holds the model, ours and theirs."""
        held = [pid for pid in self.server.model_workers() if str(self._file) in _maps(pid)]
        return memory_mb(held[0]), memory_mb(self.peer.pid)

    def kill_ours(self) -> None:
        """Kill every process of ours, at once and without warning, and start the server again."""
        self.server._end_all()
        self._start_ours()

    def _start_ours(self) -> None:
        folders = {f"XDG_{name}_HOME": str(self._scratch / name.lower()) for name in ("CACHE", "DATA")}
        self.server = server = Server(self._file.parent, self._scratch, LOCALAI_LOAD_TO_MEMORY=self.model, **folders)
        server.__enter__()
        self._open.callback(lambda: self._stop(server))
        self.ports = server.port, self.ports[1]

    def _stop(self, server: Server) -> None:
        if server is self.server:  # else it was killed
            server.__exit__(None)

    @contextmanager
    def _serve_peer(self, path: Path, *options: str) -> Iterator[None]:
        port = free_port()
        command = [self._binary, "-m", str(path), "--host", "127.0.0.1", "--port", str(port), *options]
        self.peer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.ports = self.ports[0], port
        try:
            _wait_ready(f"http://127.0.0.1:{port}/health", self.peer)
            yield
        finally:
            self.peer.terminate()
            self.peer.wait(20)


def remember(stage: Stage, key: str, measure: Callable[[], Any]) -> Any:
    """Measure once what two rows are about."""
    if key not in stage.remembered:
        stage.remembered[key] = measure()
    return stage.remembered[key]


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep that many processes computing, each in a session of its own, as other users' programs are."""
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            processes.end_group(process)


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("llama-server did not start")


def _maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""
