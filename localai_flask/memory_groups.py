"""The limits that control groups set on this process's memory, as containers and systemd services have them.

Of both versions of Linux's control groups, and of every group that this process's own one lies in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MOUNT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


class MemoryGroup(NamedTuple):
    """A limit in bytes; of them `free` are held by nobody, or by copies of files, and `mapped` are copies in use."""

    limit: int
    free: int
    mapped: int


def memory_groups() -> list[MemoryGroup]:
    """Return the groups with a limit; none where the kernel shows none."""
    return [group for folder in _folders() if (group := _read_group(folder)) is not None]


def _folders() -> Iterator[Path]:
    """Yield the folders of this process's groups, from the innermost to the mount, which is a container's own group."""
    for line in (_read(OWN) or "").splitlines():
        number, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if number != "0" and "memory" not in kinds.split(","):
            continue
        top = MOUNT if number == "0" else MOUNT / "memory"
        folder = top / path.lstrip("/")
        while folder != top and folder.is_relative_to(top):
            yield folder
            folder = folder.parent
        yield top


def _read_group(folder: Path) -> MemoryGroup | None:
    used, stat = _number(folder / "memory.current"), dict(_stat(folder))
    limits = [_number(folder / name) for name in ("memory.max", "memory.high")]
    prefix, mapped = "", "file_mapped"
    if used is None:
        used, limits = _number(folder / "memory.usage_in_bytes"), [_number(folder / "memory.limit_in_bytes")]
        prefix, mapped = "total_", "total_mapped_file"
    limit = min((each for each in limits if each is not None), default=None)
    if used is None or limit is None:
        return None
    files = sum(stat.get(f"{prefix}{name}_file", 0) for name in ("active", "inactive"))
    return MemoryGroup(limit, max(limit - used + files, 0), min(stat.get(mapped, 0), files))


def _stat(folder: Path) -> Iterator[tuple[str, int]]:
    for line in (_read(folder / "memory.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        yield name, int(value)


def _number(path: Path) -> int | None:
    """Return the number in a file; None if there is none, as where there is no limit."""
    text = (_read(path) or "").strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:  # not every kernel and container has every file
        return None
