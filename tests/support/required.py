"""Programs that tests need and a machine may lack: there the tests skip, but not in CI, which has to have them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

VARIABLE = "TESTS_NEED"
"""The environment variable in which `.ci/run` names the programs without which tests fail."""
PLACES = "/usr/local/sbin:/usr/sbin:/opt/homebrew/bin"
"""Where programs lie that not everybody has on the path, beside those of the virtual environment."""


def need_program(name: str) -> str:
    """Return the path of a program, or skip the test."""
    places = f"{Path(sys.executable).parent}:{PLACES}"
    return shutil.which(name) or shutil.which(name, path=places) or skip_without(name)


def skip_without(program: str) -> NoReturn:
    """Skip the test, as the program is not here, or fail it where it has to be."""
    if program in os.environ.get(VARIABLE, "").split():
        pytest.fail(f"{program} is not installed, and {VARIABLE} says that it has to be")
    pytest.skip(f"{program} is not installed")
