"""Runs the programs that fill an environment: watches what they write and print, and explains how they fail."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from localai_flask.errors import InstallationFailed, InstallationInterrupted
from localai_flask.gallery.progress import Progress
from localai_flask.server.processes import bound

Report = Callable[[Progress], None]
"""Called with the bytes that a program has written, of about how many, and as `file` with what it does now."""

LOOK_S = 0.25
END_S = 5.0
LEAST_WRITTEN = 1 << 20
"""How much a program has to write before that says how fast it is."""
SAID = 800
"""How many characters of what a program printed become part of an error; the log has all."""
NO_NETWORK = re.compile(
    r"dns error|Failed to fetch|NewConnectionError|Could not connect|Connection refused|error sending request"
    r"|Network (is )?unreachable|Temporary failure in name resolution|Read timed out|connection (reset|closed)",
    re.IGNORECASE,
)
PERCENT = re.compile(r"^[\w. ]+: (\d+)%")
"""How far along a program is, where it prints that itself."""
NO_CPU_TORCH = re.compile(r"(No matching distribution found for|no version of) torch==\S+\+cpu")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
NO_SPACE = "No space left on device"


class ToolRun:
    """Runs commands one after the other; `total` is about what they write together."""

    def __init__(self, log: Path, total: int, report: Report, stopped: Callable[[], bool], lock: int):
        self.log, self._total = log, total
        self._report, self._stopped, self._lock = report, stopped, lock
        self._before = 0
        """What ended programs have written."""
        self._begun = time.monotonic()

    def show(self, stage: str, written: int = 0) -> None:
        """Report what is being done."""
        done = self._before + written
        elapsed = time.monotonic() - self._begun
        rate = written / elapsed if written > LEAST_WRITTEN and elapsed > 1 else 0.0
        self._report(Progress(done, self._total if done < self._total else None, rate, stage))

    def reach(self, share: float) -> None:
        """Count that share as done, however little had to be written for it, as where a cache had all."""
        self._before = max(self._before, int(share * self._total))

    def run(
        self, stage: str, command: Sequence[str], environment: Mapping[str, str], *, shows_lines: bool = True
    ) -> str:
        """Run a program to its end and return what it printed, of which each line is shown unless it is of no use.

        Raises `InstallationFailed` with its words if it fails, `InstallationInterrupted` if it was stopped.
        """
        self.show(stage)
        self._begun = time.monotonic()
        with subprocess.Popen(
            [sys.executable, bound.__file__, str(os.getpid()), *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
            pass_fds=[self._lock],  # nobody else begins as long as it runs, or what it has started
        ) as process:
            try:
                said = self._watch(stage, process, shows_lines=shows_lines)
            except BaseException:
                _end(process)
                raise
        if process.returncode:
            raise explain(stage, said, process.returncode, self.log)
        return said

    def _watch(self, stage: str, process: subprocess.Popen[bytes], *, shows_lines: bool) -> str:
        """Collect what a program prints until it has ended."""
        assert process.stdout is not None
        output, said, line, written = process.stdout.fileno(), bytearray(), stage, 0
        with open(self.log, "ab") as log:
            while True:
                if self._stopped():
                    raise InstallationInterrupted("The installation was given up.")
                if select.select([output], [], [], LOOK_S)[0]:
                    data = os.read(output, 1 << 16)
                    if not data:
                        break
                    log.write(data)
                    log.flush()
                    said += data
                    line = (_last_line(said.decode(errors="replace")) if shows_lines else "") or stage
                told = PERCENT.search(line)
                written = max(written, self._total * int(told[1]) // 100 if told else _written_by(process.pid))
                self.show(line, written)
        process.wait()
        self._before += written
        return said.decode(errors="replace")


def explain(stage: str, said: str, code: int, log: Path) -> InstallationFailed | InstallationInterrupted:
    """Explain why a program failed, by what it printed."""
    words = _reason(said)
    if NO_SPACE in said:
        return InstallationFailed(
            f"{stage} failed, as the disk is full: free some, or name another folder in LOCALAI_BACKENDS_PATH. "
            f"It said: {words}"
        )
    if NO_NETWORK.search(said):
        return InstallationInterrupted(
            f"{stage} failed, as the package index cannot be reached; look at the network, or name a mirror in "
            f"PIP_INDEX_URL. It said: {words}",
            retry_after=30.0,
        )
    if NO_CPU_TORCH.search(said):
        return InstallationFailed(
            f"{stage} failed, as the package index has no torch for processors alone; add "
            f"`--extra-index-url {TORCH_INDEX}`. It said: {words}"
        )
    return InstallationFailed(f"{stage} failed (exit code {code}). It said: {words} (All of it: {log})")


def _reason(said: str) -> str:
    """Return what of a program's words is the reason: uv's from its cross on, pip's errors, the last line of others."""
    lines = said.splitlines()
    if "×" in said:
        chosen = [said[said.rindex("×") + 1 :]]
    else:
        chosen = [line for line in lines if line.lower().startswith("error:")] or [*filter(str.strip, lines)][-1:]
    return " ".join(" ".join(chosen).split())[:SAID]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text[-2000:].splitlines() if line.strip()]
    return lines[-1][:80] if lines else ""


def _written_by(pid: int) -> int:
    """Return how many bytes a process has written; 0 if it has ended, or the kernel does not tell."""
    try:
        found = re.search(r"^wchar: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(END_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
