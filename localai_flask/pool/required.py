"""The models that must be loaded before the server counts as ready, and the thread that follows their YAML."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from localai_flask.config.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.config.registry import Registry
from localai_flask.errors import ApiError, ErrorInfo, ServerConfigError
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 1.0


class RequiredModels(threading.Thread):
    """Looks every second what the names stand for, as a file may appear or be mended; no tick waits for the disk."""

    def __init__(
        self, settings: Settings, want: Callable[[str, ModelConfig, Look], None], miss: Callable[[str, ErrorInfo], None]
    ):
        super().__init__(name="required-models", daemon=True)
        self._settings = settings
        self._want = want
        self._miss = miss

    def run(self) -> None:
        registry = Registry(self._settings)
        self._check_default(registry)
        while self._settings.load_to_memory:
            for name in self._settings.load_to_memory:
                self._look(registry, name)
            time.sleep(LOOK_S)

    def _check_default(self, registry: Registry) -> None:
        """Warn of a default model that cannot be used; its file may still come, so the server serves the others."""
        name = self._settings.default_model
        try:
            if name:
                registry.get(name)
        except (ApiError, OSError) as error:
            log.warning("LOCALAI_DEFAULT_MODEL=%s: %s Requests that name no model are refused until then.", name, error)

    def _look(self, registry: Registry, name: str) -> None:
        try:
            config = registry.get(name)
            self._want(name, config, registry.last_look(config))
        except ApiError as error:
            self._miss(name, error.info)
        except OSError as error:
            self._miss(name, ServerConfigError(f"Cannot read the models folder: {error}.").info)
