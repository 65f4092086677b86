"""Environments that are an interpreter with the packages of a requirement set."""

from __future__ import annotations

import tempfile
from pathlib import Path

from localai_flask.backends.environments.interpreter import link_package, module_environment
from localai_flask.backends.environments.kinds import KINDS
from localai_flask.backends.environments.package_tools import PackageTool
from localai_flask.backends.environments.recipe import Made, Recipe, generate
from localai_flask.backends.environments.requirement_sets import RequirementSet
from localai_flask.backends.environments.tool_run import ToolRun

FILLED_SHARE = 0.9
"""How much of the work is done when the packages are there."""
VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


class Packages(Recipe):
    """A virtual environment, filled by pip or uv."""

    def __init__(self, requirements: RequirementSet, tool: PackageTool):
        self._requirements, self._tool = requirements, tool
        self.name, self.platform, self.size = requirements.name, requirements.platform, requirements.size

    @property
    def digest(self) -> str:
        return self._requirements.digest

    def make(self, folder: Path, run: ToolRun) -> Made:
        wanted, tool = self._requirements, self._tool
        variables = tool.environment()
        run.run("Making a virtual environment", tool.create(folder), variables)
        run.run(f"Installing {self.name} with {tool.name}", tool.install(folder, wanted.file), variables)
        if wanted.uninstalled:
            run.run("Removing what does harm", tool.uninstall(folder, wanted.uninstalled), variables)
        run.reach(FILLED_SHARE)
        python = folder / "bin" / "python"
        version = run.run("Reading the version", [str(python), "-c", VERSION, wanted.package], variables)
        with tempfile.TemporaryDirectory(prefix="localai-flask-trial-") as made:
            variables = module_environment(python, link_package(Path(made)))
            generate(KINDS[self.name], python, Path(made), variables, run)
        return Made(version.strip())
