"""A server that lives as long as the command which started it, whatever ends that."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localai_flask.cli.client.client import Client
from localai_flask.cli.exit_codes import CommandFailed
from localai_flask.cli.options import as_variables
from localai_flask.settings import Settings
from localai_flask.user_folders import state_file

START_S = 60.0
LOOK_S = 0.1
SHOWN_LINES = 5
PR_SET_PDEATHSIG = 1


@contextmanager
def private_server(client: Client, settings: Settings, models: list[str]) -> Iterator[None]:
    """Have a server run that loads the models; raise `CommandFailed` with its last words if it does not start."""
    log = log_file()
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "localai_flask", "serve"],
            env={**os.environ, **_variables(settings, models)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the answer, and must not reach it
            preexec_fn=_end_with_parent,
        )
    try:
        _await(process, client, log)
        yield
    finally:
        _end(process, settings.graceful_timeout)


def log_file() -> Path:
    """Return where such a server logs, in a folder that is there."""
    return state_file("run.log")


def _variables(settings: Settings, models: list[str]) -> dict[str, str]:
    chosen = {"models_path": settings.models_path, "load_to_memory": tuple(models[:1])}
    return as_variables({name: value for name, value in chosen.items() if value})


def _end_with_parent() -> None:
    """Have the kernel end the server when this command is killed."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _await(process: subprocess.Popen[bytes], client: Client, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not client.is_running():
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace").strip().splitlines()[-SHOWN_LINES:]
            raise CommandFailed("\n".join([f"The server does not start; {log} says why:", *words]))
        time.sleep(LOOK_S)


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    process.terminate()
    try:
        process.wait(grace_s + 10)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
