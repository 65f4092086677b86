"""What this machine has to offer: cores and memory, as far as the container lets us use them."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from localai_flask.memory_groups import memory_groups
from localai_flask.sizes import parse_bytes, parse_share

SPARED_BYTES = 1 << 30
"""Memory that is left to the rest of the machine where nobody has set a limit."""
GPU_DEVICES = ("nvidia[0-9]*", "kfd", "dxg", "dri/renderD*")
RESERVE_SHARE = 0.1
"""The part of the memory that is left to everything else where nobody has set a budget, at least a GiB."""
LEAST_RESERVE = 1 << 30
CPU = Path("/sys/devices/system/cpu")
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
_room: int | None = None
"""How many bytes this process may take; None: what the machine has."""


def physical_cores() -> int:
    """Count the cores this process may use, hyper-threads of one core as one, within the container's quota."""
    usable = os.sched_getaffinity(0)
    siblings = {_read(CPU / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in usable}
    return max(1, min(len(siblings), _quota()))


def total_memory() -> int:
    """Return how many bytes the machine has, at most what the container or service may take."""
    return min([_meminfo()["MemTotal"], *(group.limit for group in memory_groups())])


def available_memory(*, with_mapped: bool = False) -> int:
    """Return how many bytes could be allocated without swapping, at most what container and pool leave this process.

    Files that are mapped, as weights are, count as in use unless `with_mapped`: the kernel could drop what is in memory
    of them, and would read it again and again.
    """
    info = _meminfo()
    files = info.get("Active(file)", 0) + info.get("Inactive(file)", 0)
    groups = [(group.free, group.mapped) for group in memory_groups()]
    groups.append((info["MemAvailable"], min(info.get("Mapped", 0), files)))
    free = min(free - (0 if with_mapped else mapped) for free, mapped in groups)
    if _room is not None:  # the pool spares the rest of the machine already, and whoever asks here does it again
        free = min(free, _room - resident_memory() + SPARED_BYTES)
    return max(free, 0)


def choose_budget(text: str, total: int) -> int | None:
    """Return how many bytes models may take on a machine with that much memory; None if there is no limit.

    Where a GPU may hold models, nobody knows from outside how much of one lies where, so that there has to be asked.
    """
    if text:
        share = parse_share(text)
        size = parse_bytes(text) if share is None else int(total * share)
        return size or None
    return None if has_gpu_device() else total - max(LEAST_RESERVE, int(total * RESERVE_SHARE))


def limit_memory(size: int | None) -> None:
    """Count on at most `size` bytes for this process; None: on what the machine has."""
    global _room
    _room = size


def release_freed_memory() -> None:
    """Return what was freed to the kernel, where the C library keeps it for later."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def resident_memory() -> int:
    """Return how many bytes of this process lie in memory, those of files that it maps among them."""
    return int((_read(Path("/proc/self/statm")) or "0 0").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def has_gpu_device() -> bool:
    """Return whether there is a device on which models may lie beside the memory."""
    return any(True for pattern in GPU_DEVICES for _ in Path("/dev").glob(pattern))


def cpu_flags() -> frozenset[str]:
    """Return what the processor can do, by the kernel's words; none where it does not say."""
    lines = (_read(Path("/proc/cpuinfo")) or "").splitlines()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def _meminfo() -> dict[str, int]:
    """Return the kernel's sizes in bytes by their names."""
    lines = [line.split(":", 1) for line in (_read(MEMINFO) or "").splitlines()]
    return {name: int(value.split()[0]) * 1024 for name, value in lines}


def _quota() -> int:
    """Return how many cores' time the container may use, rounded up."""
    quota, _, period = (_read(CGROUP / "cpu.max") or "max").partition(" ")
    return os.cpu_count() or 1 if quota == "max" else -(-int(quota) // int(period))


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:  # not every kernel and container has every file
        return None
