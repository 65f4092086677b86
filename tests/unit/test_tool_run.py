"""What the programs that fill environments print when they fail, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from localai_flask.backends.environments.tool_run import explain
from localai_flask.errors import InstallationFailed, InstallationInterrupted

UV = """\
Using Python 3.11.7 environment
  × No solution found when resolving dependencies:
  ╰─▶ Because certifi>=2026.10.19 was not found
      and you require it, your requirements are unsatisfiable.
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "x.py", line 1, in <module>
ModuleNotFoundError: No module named 'torch'
"""


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (UV, InstallationFailed, "It said: No solution found when resolving dependencies: ╰─▶ Because certifi>=2026"),
        (TRACEBACK, InstallationFailed, "It said: ModuleNotFoundError: No module named 'torch' (All of it: /l/inst"),
        ("Collecting x\nERROR: No matching distribution found for x\n", InstallationFailed, "It said: ERROR: No matc"),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", InstallationFailed, "--extra-index-url https://d"),
        ("OSError: [Errno 28] No space left on device", InstallationFailed, "as the disk is full: free some"),
        ("error: Failed to fetch: `https://pypi.org/simple/x/`\n dns error", InstallationInterrupted, "PIP_INDEX_URL"),
        ("WARNING: connection broken by 'NewConnectionError('", InstallationInterrupted, "look at the network"),
    ],
)  # fmt: skip
def test_failures_are_explained(said: str, kind: type[Exception], words: str) -> None:
    error = explain("Installing x", said, 1, Path("/l/install.log"))
    assert type(error) is kind and words in str(error) and str(error).startswith("Installing x failed")
