"""Environments that are one program: llama.cpp's server or a fork of it, built from its sources."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from localai_flask.backends.environments.kinds import KINDS
from localai_flask.backends.environments.recipe import Made, Recipe, generate
from localai_flask.backends.environments.tool_run import ToolRun
from localai_flask.engine_build.program import NAME, SOURCES
from localai_flask.engine_build.wheel import read_version

BUILD = "localai_flask.engine_build"
SIZE = 200 << 20


class Program(Recipe):
    """A build of `source`, a folder, an archive or an address; of the usual one where it is empty."""

    size = SIZE

    def __init__(self, name: str, platform: str, source: str = ""):
        self.name, self.platform, self._source = name, platform, source

    @property
    def digest(self) -> str:
        return "" if self._source else usual_digest(self.name)

    def make(self, folder: Path, run: ToolRun) -> Made:
        target = folder / NAME
        folder.mkdir()
        command = [sys.executable, "-m", BUILD, "program", "--target", str(target)]
        command += ["--source", self._source or SOURCES[self.name], self.platform]
        run.run("Building", command, os.environ)
        run.reach(1.0)
        version = run.run("Reading the version", [str(target), "--version"], os.environ)
        kind = KINDS[self.name]
        with tempfile.TemporaryDirectory(prefix="localai-flask-trial-") as made:
            variables = {**os.environ, kind.program: str(target)}
            generate(kind, Path(sys.executable), Path(made), variables, run)
        first = next((line for line in version.splitlines() if line.startswith("version:")), version)
        return Made(first.removeprefix("version:").strip(), NAME)


def usual_digest(name: str) -> str:
    """Return what tells the usual sources of a program from those of another version of this package."""
    return hashlib.sha256((SOURCES[name] or read_version()).encode()).hexdigest()[:16]
