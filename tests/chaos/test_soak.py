"""A little of `make soak` in every run of the tests, and the line that it lays through counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.soak import slope

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_nothing_grows() -> None:
    command = [sys.executable, "-m", "tests.chaos.soak", "--requests", "900", "--loads", "6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, "WRONG and GROWS lines say what"


def test_the_line_through_counts() -> None:
    assert slope([5.0, 5.0, 5.0]) == 0
    assert slope([1.0, 3.0, 5.0, 7.0]) == 2
    assert slope([0.0, 9.0, 0.0]) == 0
