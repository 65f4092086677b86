"""What is free of memory: files that are mapped are in use, and every group's limit counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from localai_flask import machine, memory_groups

KIB = 1024
MEMINFO = """MemTotal: 1000 kB
MemAvailable: 800 kB
Active(file): 300 kB
Inactive(file): 200 kB
Mapped: 400 kB
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module, name in ((memory_groups, "MOUNT"), (memory_groups, "OWN"), (machine, "MEMINFO")):
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(machine, "_room", None)
    (tmp_path / "MEMINFO").write_text(MEMINFO)
    return tmp_path


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text)


def test_mapped_files_are_in_use() -> None:
    assert machine.available_memory() == 400 * KIB
    assert machine.available_memory(with_mapped=True) == 800 * KIB
    assert machine.total_memory() == 1000 * KIB


def test_the_tightest_of_the_groups_above_counts(here: Path) -> None:
    (here / "OWN").write_text("0::/system.slice/server.service\n")
    stat = f"file_mapped {30 * KIB}\nactive_file {40 * KIB}\ninactive_file {20 * KIB}\n"
    own = here / "MOUNT/system.slice/server.service"
    group(own, max="max", high=str(500 * KIB), current=str(400 * KIB), stat=stat)
    group(here / "MOUNT/system.slice", max=str(600 * KIB), current=str(590 * KIB), stat="")
    assert machine.total_memory() == 500 * KIB
    assert machine.available_memory() == 10 * KIB
    group(here / "MOUNT/system.slice", max="max", current=str(590 * KIB), stat="")
    assert machine.available_memory() == (100 + 60 - 30) * KIB
    assert machine.available_memory(with_mapped=True) == (100 + 60) * KIB


def test_a_container_sees_its_own_group_at_the_mount(here: Path) -> None:
    (here / "OWN").write_text("0::/\n")
    group(here / "MOUNT", max=str(50 * KIB), current=str(20 * KIB), stat="")
    assert machine.total_memory() == 50 * KIB and machine.available_memory() == 30 * KIB


def test_the_first_version_of_groups(here: Path) -> None:
    (here / "OWN").write_text("4:cpu,memory:/docker/abc\n1:cpu:/elsewhere\n0::/\n")
    stat = f"total_mapped_file 0\ntotal_active_file {5 * KIB}\ntotal_inactive_file 0\n"
    group(here / "MOUNT/memory/docker/abc", limit_in_bytes=str(90 * KIB), usage_in_bytes=str(80 * KIB), stat=stat)
    group(here / "MOUNT/memory", limit_in_bytes=str(2**63 - 4096), usage_in_bytes=str(900 * KIB), stat="")
    assert machine.total_memory() == 90 * KIB and machine.available_memory() == 15 * KIB
