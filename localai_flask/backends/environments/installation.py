"""Installs an environment: has its recipe make and try it in a folder of its own, and only then has that count."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from localai_flask.backends.environments.folder import IN_USE, LOG, Environment, Environments, Record
from localai_flask.backends.environments.recipe import Recipe
from localai_flask.backends.environments.tool_run import Report, ToolRun
from localai_flask.errors import InstallationFailed
from localai_flask.gallery.progress import gigabytes


def install(
    recipe: Recipe,
    environments: Environments,
    *,
    report: Report,
    stopped: Callable[[], bool] = lambda: False,
) -> Environment:
    """Install an environment in place of the one that may be there, which counts until the new one is whole.

    Raises `Unavailable` if somebody else is at it, and `InstallationFailed` or `InstallationInterrupted` with nothing
    left but a log.
    """
    name = recipe.name
    with environments.locked(name) as lock:
        home = environments.path / name
        environments.sweep(name)
        _check_room(recipe, home)
        folder = home / secrets.token_hex(4)
        log = home / LOG
        log.unlink(missing_ok=True)
        try:
            run = ToolRun(log, recipe.size, report, stopped, lock)
            made = recipe.make(folder, run)
            (folder / IN_USE).touch()
            run.show("Counting its files")
            record = Record(
                folder=folder.name,
                platform=recipe.platform,
                version=made.version,
                digest=recipe.digest,
                python="" if made.program else ".".join(platform.python_version_tuple()[:2]),
                program=made.program,
                size=_measure(folder),
                installed_at=time.time(),
            )
            return environments.put(name, record)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _check_room(recipe: Recipe, home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < recipe.size:
        raise InstallationFailed(
            f"The {recipe.name} backend takes about {gigabytes(recipe.size)}, and {home} has {gigabytes(free)} left: "
            "free some, or name another folder in LOCALAI_BACKENDS_PATH."
        )


def _measure(folder: Path) -> int:
    """Return how many bytes the files of a folder take."""
    total = 0
    for root, _, files in os.walk(folder):
        total += sum(os.lstat(os.path.join(root, file)).st_blocks * 512 for file in files)
    return total
