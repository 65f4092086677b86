"""What this machine has to offer: cores and memory, as far as the container lets us use them."""

from __future__ import annotations

import os
from pathlib import Path

SPARED_BYTES = 1 << 30
"""Memory that is left to the rest of the machine where nobody has set a limit."""
CPU = Path("/sys/devices/system/cpu")
CGROUP = Path("/sys/fs/cgroup")


def physical_cores() -> int:
    """Count the cores this process may use, hyper-threads of one core as one, within the container's quota."""
    usable = os.sched_getaffinity(0)
    siblings = {_read(CPU / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in usable}
    return max(1, min(len(siblings), _quota()))


def available_memory() -> int:
    """Return how many bytes could be allocated without swapping, at most what the container has left."""
    lines = dict(line.split(":", 1) for line in (_read(Path("/proc/meminfo")) or "").splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = _read(CGROUP / "memory.max"), _read(CGROUP / "memory.current")
    if limit and used and limit != "max":
        free = min(free, int(limit) - int(used))
    return max(free, 0)


def _quota() -> int:
    """Return how many cores' time the container may use, rounded up."""
    quota, _, period = (_read(CGROUP / "cpu.max") or "max").partition(" ")
    return os.cpu_count() or 1 if quota == "max" else -(-int(quota) // int(period))


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:  # not every kernel and container has every file
        return None
