"""What a running server holds, counted from outside: processes, descriptors, channels, files, memory, threads."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support import processes
from tests.support.server import Server

ROLES = {
    "pool.manager": "manager",
    "pool.worker": "model worker",
    "background.runner": "background process",
    "localai_flask serve": "web worker",
}
CHANNEL = "memfd:localai-flask-channel"
DATABASE = "database files"
"""Not counted: a pool keeps as many connections as requests have needed at once, up to a bound of its own."""


@dataclass(frozen=True)
class Process:
    pid: int
    role: str
    descriptors: Counter[str]
    channels: int
    """Of shared memory, as mapped."""
    threads: int
    memory_kb: int
    """What it has taken for itself: anonymous memory and what of that was swapped out."""


@dataclass(frozen=True)
class Census:
    processes: list[Process]
    files: Counter[str]
    """In the runtime directories, by suffix."""

    def by_role(self) -> dict[str, list[Process]]:
        found: dict[str, list[Process]] = {}
        for process in self.processes:
            found.setdefault(process.role, []).append(process)
        return found

    def totals(self) -> Counter[str]:
        """All that must not grow, under names that say what and where."""
        counts: Counter[str] = Counter()
        for role, members in self.by_role().items():
            counts[f"{role}: processes"] = len(members)
            for process in members:
                counts[f"{role}: channels"] += process.channels
                for kind, count in process.descriptors.items():
                    counts[f"{role}: {kind}"] += count
                del counts[f"{role}: {DATABASE}"]
        for suffix, count in self.files.items():
            counts[f"runtime files: {suffix}"] = count
        return counts

    def above(self, before: Census, spare_sockets: int = 0) -> dict[str, tuple[int, int]]:
        """What there is more of than before: name to (then, now); of sockets each role may have some more."""
        then, now = before.totals(), self.totals()
        spare = {name: spare_sockets for name in now if name.endswith(": sockets")}
        return {
            name: (then[name], count) for name, count in sorted(now.items()) if count > then[name] + spare.get(name, 0)
        }


def take(server: Server) -> Census:
    """Count what the server holds now; a process that ends meanwhile does not count."""
    assert server.process is not None
    runtime = server.runtime_dir()
    found = [_look_at(pid, "arbiter" if pid == server.process.pid else _role(pid)) for pid in _pids(server, runtime)]
    paths = [path for folder in server.scratch.glob("localai-flask-*") for path in folder.rglob("*")]
    files = Counter(path.suffix or path.name for path in paths)
    if has_own_shared_memory():
        files["shared memory"] = len(list(Path("/dev/shm").iterdir()))
    return Census([process for process in found if process is not None], files)


def has_own_shared_memory() -> bool:
    """Return whether what lies in /dev/shm is of this run."""
    return "CHAOS_HAS_MOUNTS" in os.environ


def _pids(server: Server, runtime: str) -> list[int]:
    assert server.process is not None
    zombies = [pid for pid in processes.children(server.process.pid) if processes.state(pid) == "Z"]
    return sorted({server.process.pid, *processes.belonging_to(runtime), *server.web_workers(), *zombies})


def _role(pid: int) -> str:
    if processes.state(pid) == "Z":
        return "zombie"
    command = processes.command(pid)
    return next((role for part, role in ROLES.items() if part in command), "other")


def _look_at(pid: int, role: str) -> Process | None:
    proc = Path("/proc") / str(pid)
    try:
        maps = (proc / "maps").read_text(errors="replace")
        status = dict(re.findall(r"^(\w+):\s+(\d+)", (proc / "status").read_text(), re.MULTILINE))
        memory = int(status.get("RssAnon", 0)) + int(status.get("VmSwap", 0))
        return Process(pid, role, _descriptors(proc), maps.count(CHANNEL), int(status.get("Threads", 0)), memory)
    except OSError:
        return None


def _descriptors(proc: Path) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for entry in (proc / "fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue  # closed meanwhile
        kinds[_kind(target)] += 1
    return kinds


def _kind(target: str) -> str:
    if ".db" in target:
        return DATABASE
    for kind in ("socket", "pipe", "eventfd", "eventpoll", "pidfd", "memfd"):
        if kind in target.partition("/")[0] or target.startswith(f"/{kind}:"):
            return f"{kind}s"
    return "files"
