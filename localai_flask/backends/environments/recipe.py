"""What is installed into a folder of its own, and how: an interpreter with packages, or a program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from localai_flask.backends.environments.interpreter import module_command
from localai_flask.backends.environments.kinds import Kind
from localai_flask.backends.environments.tool_run import ToolRun

TRIAL = "localai_flask.pool.worker.trial"
CORES = "2"
"""Threads for a model that is tiny."""


class Made(NamedTuple):
    """What has come of it: the version, and the program's file if it is one."""

    version: str
    program: str = ""


class Recipe(ABC):
    """How one environment is made; `size` is about what it takes on the disk, and what there is to write."""

    name: str
    platform: str
    size: int

    @property
    @abstractmethod
    def digest(self) -> str:
        """What tells it from that of another version of this package; "" where nothing does."""

    @abstractmethod
    def make(self, folder: Path, run: ToolRun) -> Made:
        """Fill a folder that is not there yet, and try what has come of it.

        Raises `InstallationFailed` or `InstallationInterrupted`.
        """


def generate(kind: Kind, python: Path, folder: Path, variables: Mapping[str, str], run: ToolRun) -> None:
    """Have an engine generate a few tokens, on some interpreter, with a tiny model that is made in a folder."""
    variables = {**variables, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": CORES}
    making = module_command(python, kind.sample, str(folder))
    run.run("Making a tiny model", making, variables, shows_lines=False)
    generating = module_command(python, TRIAL, kind.engine, str(folder))
    run.run(f"Generating with {kind.engine}", generating, variables, shows_lines=False)
