"""Some blows of each kind, in every run of the tests; `make chaos` deals all of them, in any order, for minutes.

In a process of their own, as disks can be filled only where mounts are nobody else's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import postgres

ROOT = Path(__file__).parents[2]
SLACK = 4
"""How many times slower than promised a machine may be that runs other tests beside."""
GROUPS = {
    "kills": [
        "kill a model worker",
        "kill all web workers",
        "kill the manager and all model workers",
    ],
    "ends": ["kill the whole group"],
    "hangs": ["stop a model worker", "stop a web worker", "hang an engine"],
    "disks": [
        "fill the disk of the database",
        "fill the disk of the runtime folder and kill a model worker",
        "take the database away",
    ],
    "postgresql": ["crash PostgreSQL", "stop PostgreSQL"],
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", GROUPS)
def test_the_promises_are_kept(group: str) -> None:
    if group == "postgresql":
        postgres.binaries()
    command = [sys.executable, "-m", "tests.chaos", "--minutes", "0", "--slack", str(SLACK), "--only"]
    done = subprocess.run([*command, ",".join(GROUPS[group])], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert group == "disks" or all(name in done.stdout for name in GROUPS[group]), "not all was struck"
    assert done.returncode == 0, "BROKEN lines say what; `python -m tests.chaos --seed` strikes in the same way again"
