"""Looking at processes from outside, by /proc: what runs, whose child it is, and waiting for a condition."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T:
    """Poll until the condition is true and return its value; fail the test after the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what or condition}")
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent(entry) == pid:
            found.append(int(entry.name))
    return sorted(found)


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return -1


def state(pid: int) -> str:
    """The state letter of a process (Z: zombie), or "" if there is none."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def resident_bytes(pid: int) -> int:
    """How many bytes of a process lie in memory."""
    return int((Path("/proc") / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def command(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def belonging_to(runtime_dir: str) -> list[int]:
    """Every process whose environment names this runtime directory: a server's manager, model and web workers."""
    needle = f"LOCALAI_FLASK_RUNTIME_DIR={runtime_dir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and needle in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if state(pid) not in ("", "Z")]


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[None]:
    """Have processes stand still for the block: they are there, and do not answer."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def running(command: Sequence[str | os.PathLike[str]], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a program beside the block, and kill it with its children if it is still there at the end."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        end_group(process)


def end(process: subprocess.Popen[Any], number: signal.Signals = signal.SIGTERM, patience_s: float = 10) -> int:
    """Ask a program to end and return its exit status; if it does not end in time, kill it and fail the test."""
    try:
        if process.poll() is None:
            process.send_signal(number)
        return process.wait(patience_s)
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[Any]) -> None:
    """Kill what is left of a program and of its process group, if it leads one, and reap it.

    Else what a failed test leaves behind disturbs those after it.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
