"""What the workers of each model say: one file per model in the runtime directory, which outlives them.

Workers append to it what they log and what their engine prints; the manager adds how they ended, and keeps it short.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

import msgspec

FOLDER = "logs"
SUFFIX = ".log"
LONGEST_NAME = 200
"""Of a file; a longer one stands for a model by its digest."""
MOST_BYTES, KEPT_BYTES = 4 * 2**20, 512 * 2**10
"""When a file is cut, and what is left of it then."""
MOST_FILES = 512
LONGEST_LINE = 4096
LOGGED = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:,(\d{3}))?] \[\d+] \[[A-Z]+] ")
"""How a line of our own log begins (`protocol.LOG_FORMAT`); others are an engine's."""


class LogLine(msgspec.Struct, frozen=True):
    """One line, as LocalAI has them; what an engine prints has the time of the line of the log before it."""

    timestamp: str
    stream: str
    text: str


class ModelLogs:
    """The files of one server's models."""

    def __init__(self, runtime: Path):
        self._folder = runtime / FOLDER

    def path(self, model: str) -> Path:
        name = quote(model, safe=" ")
        if len(name) > LONGEST_NAME:
            name = hashlib.sha256(model.encode()).hexdigest()
        return self._folder / f"{name}{SUFFIX}"

    def open(self, model: str) -> BinaryIO:
        """Open a model's file for what a process prints: each write goes to its end, wherever that is by then."""
        self._folder.mkdir(exist_ok=True)
        return open(self.path(model), "ab", buffering=0)

    def names(self) -> list[str]:
        """Return the models that have a file, in order."""
        return sorted(unquote(path.stem) for path in self._folder.glob(f"*{SUFFIX}"))

    def clear(self, model: str) -> None:
        """Forget what a model's workers have said."""
        try:
            os.truncate(self.path(model), 0)
        except FileNotFoundError:
            pass

    def read(self, model: str, most: int) -> list[LogLine]:
        """Return the last lines of a model's workers; none if it has had no worker."""
        lines: list[LogLine] = []
        time = ""
        for text in read_end(self.path(model), KEPT_BYTES)[-most:]:
            time = _time_in(text) or time
            lines.append(LogLine(time, "stderr", text[:LONGEST_LINE]))
        return lines

    def bound(self) -> None:
        """Cut files that have become long, and remove the oldest of too many."""
        found = sorted(self._folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)
        for path in found[:-MOST_FILES]:
            path.unlink()
        for path in found[-MOST_FILES:]:
            if path.stat().st_size > MOST_BYTES:
                with open(path, "r+b") as file:
                    file.seek(-KEPT_BYTES, os.SEEK_END)
                    kept = file.read()
                    file.truncate(0)
                with open(path, "ab") as file:
                    file.write(kept.partition(b"\n")[2])


def read_end(path: Path, size: int, begin: int = 0) -> list[str]:
    """Return the lines at the end of a file, of at most `size` bytes, behind `begin`; none if there is no file."""
    try:
        with open(path, "rb") as file:
            end = os.fstat(file.fileno()).st_size
            whole_from = begin if begin <= end else 0
            begin = max(whole_from, end - size)
            file.seek(begin)
            data = file.read(size)
    except FileNotFoundError:
        return []
    if begin > whole_from:
        data = data.partition(b"\n")[2]  # the first line may not be whole
    return [line.rstrip() for line in data.decode(errors="replace").split("\n") if line.strip()]


def _time_in(line: str) -> str:
    """Return the time of a line of the log, as RFC 3339 has it; "" if it has none."""
    found = LOGGED.match(line)
    if found is None:
        return ""
    local = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").astimezone()
    return local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{found[2] or '000'}Z"
