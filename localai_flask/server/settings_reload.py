"""Settings that change while the server runs: the arbiter reads their file again, checks it and tells the processes.

As with nginx, a file that cannot be used changes nothing at all. Settings that need a restart keep the value that the
server was started with.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from localai_flask.address import Address
from localai_flask.pool import announced_settings
from localai_flask.server import start_checks
from localai_flask.settings import HIDDEN, Settings
from localai_flask.settings import file as settings_file
from localai_flask.settings.fields import env_name, render

log = logging.getLogger("gunicorn.error")

LOOK_S = 1.0
FIELDS = dataclasses.fields(Settings)


def read_first(environment: MutableMapping[str, str]) -> Settings:
    """Read the settings at the start, and put those of the file into the environment; raise `ValueError`."""
    completed = settings_file.completed(environment)
    settings = Settings.from_environment(completed)
    environment.update(completed)
    for name in environment.keys() - completed.keys():
        del environment[name]
    return settings


class Reload:
    """The settings that hold now, and their change; for the arbiter's main thread, but for `is_due`."""

    def __init__(self, settings: Settings, environment: MutableMapping[str, str] = os.environ):
        self.settings = settings
        self._environment = environment
        self._seen: tuple[int, ...] | None = self._look()
        """The file as it was when it was last read, or a reload was asked for."""
        self._before = self._seen

    def take_up(self, addresses: Iterable[Address], runtime_file: Path) -> bool:
        """Read the file again, log what changes and tell the processes of it; return False if it cannot be used."""
        self._seen = self._look()
        try:
            completed = settings_file.completed(self._environment)
            wanted = Settings.from_environment(completed)
            settings = self._with_changes(wanted)
            faults = [*start_checks.find_key_faults(settings, addresses)]
            doubts = [*start_checks.find_vain_settings(wanted)]
            if not faults:
                announced_settings.announce(runtime_file, settings)
        except (ValueError, OSError) as error:
            faults = [str(error)]
        for fault in faults:
            log.error("the settings stay as they were: %s", fault)
        if faults:
            return False
        for line in describe_changes(self.settings, wanted):
            log.info("%s", line)
        for doubt in doubts:
            log.warning("%s", doubt)
        self._adopt(completed)
        self.settings = settings
        return True

    def _with_changes(self, wanted: Settings) -> Settings:
        """Return the settings that hold now, but for those that may change."""
        changes = {each.name: getattr(wanted, each.name) for each in FIELDS if not each.metadata["needs_restart"]}
        return dataclasses.replace(self.settings, **changes)

    def _adopt(self, completed: dict[str, str]) -> None:
        """Put what may change into the environment, from which new web workers read it."""
        before, now = (set(each.get(settings_file.FROM_FILE, "").split(",")) for each in (self._environment, completed))
        for field in FIELDS:
            name = env_name(field)
            if name not in before | now or field.metadata["needs_restart"]:
                continue
            if name in completed:
                self._environment[name] = completed[name]
            else:
                self._environment.pop(name, None)
        self._environment[settings_file.FROM_FILE] = ",".join(sorted((before | now) & self._environment.keys()))

    def is_due(self) -> bool:
        """Return, once for each change, whether the file has changed, and not since the last call, a second ago."""
        now = self._look()
        is_quiet, self._before = now == self._before, now
        if now == self._seen or not is_quiet:
            return False
        self._seen = now
        return True

    def _look(self) -> tuple[int, ...] | None:
        if not self.settings.settings_file:
            return None
        try:
            found = os.stat(settings_file.path_of(self.settings.settings_file))
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


class ReloadWatch(threading.Thread):
    """Asks for a reload when the file has changed."""

    def __init__(self, reload: Reload, ask: Callable[[], None]):
        super().__init__(name="settings-watch", daemon=True)
        self._reload = reload
        self._ask = ask

    def run(self) -> None:
        while True:
            time.sleep(LOOK_S)
            if self._reload.is_due():
                self._ask()


def describe_changes(before: Settings, wanted: Settings) -> Iterator[str]:
    """Yield a line for each setting that a reload changes, or that it cannot."""
    for field in FIELDS:
        old, new = getattr(before, field.name), getattr(wanted, field.name)
        if old == new:
            continue
        if not field.metadata["needs_restart"]:
            yield f"{env_name(field)} is now {_shown(field, new)}; it was {_shown(field, old)}"
        else:
            yield f"{env_name(field)} stays {_shown(field, old)} until the server is restarted"


def _shown(field: dataclasses.Field[Any], value: Any) -> str:
    return HIDDEN if field.metadata["secret"] and value else render(value) or "unset"
