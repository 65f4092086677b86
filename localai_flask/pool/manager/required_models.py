"""The thread that follows the models folder: models to load at start, models that have left, and faults in YAML.

Of all the processes that read the folder, this one alone logs what is wrong there, so that it is said once.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from msgspec import structs

from localai_flask.config.folder.look import Look
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError, ErrorInfo, ModelNotFound, ServerConfigError
from localai_flask.pool.protocol import Wanted, wanted
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 1.0


class Table(Protocol):
    """What the thread does with the manager's table."""

    def require(self, name: str, wanted: Wanted) -> None: ...
    def require_only(self, keys: frozenset[str]) -> None: ...
    def update(self, config: ModelConfig, look: Look) -> None: ...
    def mark_missing(self, name: str, error: ErrorInfo) -> None: ...
    def has_workers(self, key: str) -> bool: ...
    def names_in_use(self) -> frozenset[str]: ...
    def retire(self, names: frozenset[str], look: Look) -> None: ...


class RequiredModels(threading.Thread):
    """Looks every second what the names stand for, as a file may appear or be mended; no tick waits for the disk."""

    def __init__(self, settings: Settings, table: Table):
        super().__init__(name="required-models", daemon=True)
        self.settings = settings
        """Replaced by another thread when settings change."""
        self._table = table
        self._said: frozenset[str] = frozenset()
        """What was found in the folder, and logged."""
        self._absent: frozenset[str] = frozenset()
        """Models in use that the folder had no more at the last look."""

    def run(self) -> None:
        registry = Registry(self.settings)
        self._check_default(registry)
        while True:
            try:
                self._look_at_folder(registry)
            except Exception:  # the thread's boundary: it is looked again in a second, and nobody watches this thread
                log.exception("the models folder could not be looked at")
            time.sleep(LOOK_S)

    def _look_at_folder(self, registry: Registry) -> None:
        self._table.require_only(frozenset(self._look(registry, name) for name in self.settings.load_to_memory))
        self._said = self._log_findings(registry, self._said)
        self._pass_on_edits(registry)
        self._absent = self._retire_absent(registry, self._absent)

    def _check_default(self, registry: Registry) -> None:
        """Warn of a default model that cannot be used; its file may still come, so the server serves the others."""
        name = self.settings.default_model
        try:
            if name:
                registry.get(name)
        except (ApiError, OSError) as error:
            log.warning("LOCALAI_DEFAULT_MODEL=%s: %s Requests that name no model are refused until then.", name, error)

    def _log_findings(self, registry: Registry, said: frozenset[str]) -> frozenset[str]:
        """Log what was not there before; return all that is there now."""
        try:
            findings = dict.fromkeys(map(str, registry.findings()))
        except (ApiError, OSError):  # a folder that cannot be read is told to whoever asks for a model
            return said
        for finding in findings:
            if finding not in said:
                log.warning("%s", finding)
        return frozenset(findings)

    def _retire_absent(self, registry: Registry, before: frozenset[str]) -> frozenset[str]:
        """Retire models that were absent `before` and still are; return all that are absent now.

        At two looks, since a file that is replaced may be away for a moment.
        """
        try:
            names, look = registry.refresh_names()
        except (ApiError, OSError):
            return before
        absent = self._table.names_in_use() - names
        if gone := absent & before:
            self._table.retire(gone, look)
        return absent

    def _pass_on_edits(self, registry: Registry) -> None:
        """Have models that are in use go by what their YAML says now, where that needs no load."""
        try:
            firsts = [each for each in registry.models().values() if not (each.variant_of or each.alias)]
            for config in firsts:
                if self._table.has_workers(config.key):
                    self._table.update(config, registry.last_look(config))
        except (ApiError, OSError):
            return

    def _look(self, registry: Registry, name: str) -> str:
        """Require a model; return its key, or its name as long as it cannot be used."""
        try:
            config = registry.get(name)
            look = registry.last_look if self._table.has_workers(config.key) else registry.look_to_load
            self._table.require(name, wanted(config, look(config)))
        except ModelNotFound as error:
            advice = "LOCALAI_LOAD_TO_MEMORY names it: put its file there, or take the name out."
            self._table.mark_missing(name, structs.replace(error.info, message=f"{error} {advice}"))
        except ApiError as error:
            self._table.mark_missing(name, error.info)
        except OSError as error:
            self._table.mark_missing(name, ServerConfigError(f"Cannot read the models folder: {error}.").info)
        else:
            return config.key
        return name
