"""What there has to be before an engine can load a model: its environment, the model's files, the right interpreter.

What is fetched needs packages of the server, so a worker that has something to fetch begins on the server's interpreter
and becomes another program in its own process when that is done.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from localai_flask.backends import BACKENDS, find_environment, is_installed
from localai_flask.backends.environments import interpreter
from localai_flask.backends.environments.folder import Environment, Environments
from localai_flask.config.model import EngineConfig
from localai_flask.errors import Unavailable
from localai_flask.gallery.model_files import fetch_missing
from localai_flask.gallery.progress import Progress
from localai_flask.pool.protocol import Coming
from localai_flask.pool.runtime import Runtime
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

MODULE = "localai_flask.pool.worker"
PREPARED = "LOCALAI_FLASK_PREPARED"
"""The variable that tells the program which goes on that its first part is done."""
WAIT_S = 1.0
"""How often to look whether another process has installed the engine."""
LEAST_STEP = 1e-6
ENGINE_SHARE = 0.5
"""The share of it that is installing an engine, where that is missing."""
TELL_PROGRESS_S = 5.0
"""Seconds between two lines of the log."""


class Preparation:
    """Prepares for one model, and reports the share that is done, 0 to 1.

    `coming` is what is being fetched: the "engine", its "files", or nothing.
    """

    def __init__(self, config: EngineConfig, report: Callable[[float], None]):
        self._config, self._report = config, report
        self._first, self._done = 0.0, 0.0
        self._told = -float("inf")
        self.coming: Coming = ""

    def run(self) -> bool:
        """Install and fetch what is missing; return whether anything was.

        Raises an `ApiError` if that cannot be done. Where the engine has another interpreter, that takes over.
        """
        settings = Settings.from_environment()
        environments = Environments(settings.backends_folder)
        installed = settings.autoload_backends and self._install_missing(settings, environments)
        self.coming = "files"
        fetched = fetch_missing(self._config, self._follow)
        self.coming = ""
        is_prepared = installed or fetched or PREPARED in os.environ
        environment = find_environment(self._config.backend, environments)
        if environment is not None and environment.program is None and not _runs_on(environment):
            _become(environment, is_prepared=is_prepared)
        return is_prepared

    def _install_missing(self, settings: Settings, environments: Environments) -> bool:
        """Install the engine unless it is there; return whether that was done, here or by another process."""
        name = self._config.backend
        entry = BACKENDS.get(name)
        if entry is None or entry.environment is None or is_installed(name, environments):
            return False
        self.coming = "engine"
        while not is_installed(name, environments):
            try:
                self._install(entry.environment, settings, environments)
            except Unavailable:
                if not environments.is_being_changed(entry.environment):
                    raise
                self._await_other(entry.environment, environments)
        self._first = self._done = ENGINE_SHARE
        return True

    def _install(self, name: str, settings: Settings, environments: Environments) -> None:
        from localai_flask.backends.environments.installation import install
        from localai_flask.backends.environments.recipes import choose_recipe

        install(choose_recipe(name, offline=settings.offline), environments, report=self._follow)

    def _await_other(self, name: str, environments: Environments) -> None:
        while environments.is_being_changed(name):
            self._nudge()
            time.sleep(WAIT_S)

    def _follow(self, progress: Progress) -> None:
        """Take the progress of what is coming."""
        last = ENGINE_SHARE if self.coming == "engine" else 1.0
        done = self._first + (last - self._first) * progress.fraction
        if done > self._done:
            self._done = done
            self._report(done)
        else:
            self._nudge()
        now = time.monotonic()
        if now - self._told >= TELL_PROGRESS_S:
            self._told = now
            name, engine = self._config.name, self._config.backend
            if self.coming == "engine":
                log.info("installing the %s backend for model %s: %s (%s)", engine, name, progress.file, progress)
            else:
                log.info("fetching model %s: %s", name, progress)

    def _nudge(self) -> None:
        """Show that there is somebody at work: what cannot be measured has deadlines of its own."""
        self._done = min(1.0, self._done + LEAST_STEP)
        self._report(self._done)


def _runs_on(environment: Environment) -> bool:
    return Path(sys.prefix).resolve() == environment.path.resolve()


def _become(environment: Environment, *, is_prepared: bool) -> None:
    """Go on as a worker on another interpreter, with the same spec, log and process."""
    os.set_inheritable(environment.hold(), True)
    links = interpreter.link_package(Runtime.from_environment().path)
    variables = interpreter.module_environment(environment.python, links)
    if is_prepared:
        variables[PREPARED] = "1"
    os.lseek(sys.stdin.fileno(), 0, os.SEEK_SET)  # the spec is read again
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(environment.python, interpreter.module_command(environment.python, MODULE, *sys.argv[1:]), variables)
