"""Installs an environment: makes it, fills it, has the engine generate with a tiny model, and then has it count."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from localai_flask.backends.environments.folder import IN_USE, Environment, Environments, Record
from localai_flask.backends.environments.interpreter import link_package, module_command, module_environment
from localai_flask.backends.environments.kinds import KINDS, Kind
from localai_flask.backends.environments.package_tools import PackageTool
from localai_flask.backends.environments.requirement_sets import RequirementSet
from localai_flask.backends.environments.tool_run import InstallationFailed, Report, ToolRun
from localai_flask.gallery.progress import gigabytes

LOG = "install.log"
TRIAL = "localai_flask.pool.worker.trial"
VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
CORES = "2"
"""Threads for a model that is tiny."""


def install(
    requirements: RequirementSet,
    environments: Environments,
    tool: PackageTool,
    *,
    report: Report,
    stopped: Callable[[], bool] = lambda: False,
) -> Environment:
    """Install an environment in place of the one that may be there, which counts until the new one is whole.

    Raises `Unavailable` if somebody else is at it, and `InstallationFailed` or `InstallationInterrupted` with nothing
    left but a log.
    """
    name = requirements.name
    with environments.locked(name) as lock:
        home = environments.path / name
        environments.sweep(name)
        _check_room(requirements, home)
        folder = home / secrets.token_hex(4)
        log = home / LOG
        log.unlink(missing_ok=True)
        try:
            run = ToolRun(log, requirements.size, report, stopped, lock)
            version = _build(requirements, folder, tool, run)
            run.show("counting its files")
            record = Record(
                folder=folder.name,
                platform=requirements.platform,
                version=version,
                digest=requirements.digest,
                python=_python_version(),
                size=_measure(folder),
                installed_at=time.time(),
            )
            return environments.put(name, record)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _build(requirements: RequirementSet, folder: Path, tool: PackageTool, run: ToolRun) -> str:
    """Fill a folder, try what came of it, and return the version of the engine's package."""
    name, variables = requirements.name, tool.environment()
    run.run("Making a virtual environment", tool.create(folder), variables)
    (folder / IN_USE).touch()
    run.run(f"Installing {name} with {tool.name}", tool.install(folder, requirements.file), variables)
    if requirements.uninstalled:
        run.run("Removing what does harm", tool.uninstall(folder, requirements.uninstalled), variables)
    python = folder / "bin" / "python"
    version = run.run("Reading the version", [str(python), "-c", VERSION, requirements.package], os.environ).strip()
    if name in KINDS:
        _try(KINDS[name], python, run)
    return version


def _try(kind: Kind, python: Path, run: ToolRun) -> None:
    """Have the engine generate a few tokens with a tiny model on the environment's interpreter."""
    with tempfile.TemporaryDirectory(prefix="localai-flask-trial-") as made:
        variables = module_environment(python, link_package(Path(made)))
        variables |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": CORES}
        run.run("Making a tiny model", module_command(python, kind.sample, made), variables)
        run.run(f"Generating with {kind.engine}", module_command(python, TRIAL, kind.engine, made), variables)


def _check_room(requirements: RequirementSet, home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < requirements.size:
        raise InstallationFailed(
            f"The {requirements.name} backend takes about {gigabytes(requirements.size)}, and {home} has "
            f"{gigabytes(free)} left: free some, or name another folder in LOCALAI_BACKENDS_PATH."
        )


def _measure(folder: Path) -> int:
    """Return how many bytes the files of a folder take."""
    total = 0
    for root, _, files in os.walk(folder):
        total += sum(os.lstat(os.path.join(root, file)).st_blocks * 512 for file in files)
    return total


def _python_version() -> str:
    return ".".join(platform.python_version_tuple()[:2])
