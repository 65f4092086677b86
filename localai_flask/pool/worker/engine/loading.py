"""Loading a worker's model: prepare it, have the engine read it, and keep count of how far that is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from localai_flask.backends.base import Backend
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError, LoadCrashed, ModelLoadFailed, OutOfMemory
from localai_flask.generation import FETCHING_SHARE, ModelInfo
from localai_flask.pool.protocol import Coming
from localai_flask.pool.worker.engine.preparation import Preparation

log = logging.getLogger(__name__)

SAID = 300
"""How many characters of what an engine's library says become part of an error; the log has all."""


class Loading:
    """Loads one model once; `progress` and what has become of it may be read from any thread."""

    def __init__(self, config: EngineConfig, *, is_prepared: bool = False):
        self._config = config
        self._preparation = None if is_prepared else Preparation(config, self._prepared_so_far)
        self._is_begun = False
        """Whether some of the progress was made by preparing it."""
        self.progress = 0.0
        self.seconds = 0.0
        """How long the load took, once there is an `info`."""
        self.info: ModelInfo | None = None
        self.error: ApiError | None = None
        """Why the model could not be loaded."""

    @property
    def coming(self) -> Coming:
        """What is being fetched."""
        return "" if self._preparation is None else self._preparation.coming

    def make(self, create: Callable[[], Backend]) -> Backend | None:
        """Install and fetch what is missing, then make an engine; None if that has not worked."""
        try:
            self._is_begun = self._preparation is not None and self._preparation.run()
            return create()
        except ApiError as error:
            self.fail(error)
        except Exception as error:
            log.exception("model %s could not be prepared", self._config.name)
            self.fail(LoadCrashed(f"Model {self._config.name} could not be prepared: {error}."))
        return None

    def load(self, backend: Backend) -> bool:
        """Load the model into an engine; return whether that has worked."""
        begun, name = time.monotonic(), self._config.name
        try:
            info = backend.load(self._config, self._loaded_behind if self._is_begun else self._loaded_so_far)
            info = msgspec.structs.replace(info, constraints=backend.takes.constraints, slots=backend.room)
        except ApiError as error:
            self.fail(error)
        except MemoryError:
            self.fail(OutOfMemory(f"Model {name} does not fit into memory; use a smaller model or context_size."))
        except Exception as error:
            log.exception("the engine could not load model %s", name)
            said = " ".join(str(error).split()) or type(error).__name__
            self.fail(ModelLoadFailed(f"The {self._config.backend} engine cannot load model {name}: {said[:SAID]}."))
        else:
            self.seconds = time.monotonic() - begun
            self.progress, self.info = 1.0, info
            log.info("model %s is ready after %.1f s", name, self.seconds)
            if info.given_up:
                log.warning("model %s runs without %s", name, info.given_up)
        return self.info is not None

    def fail(self, error: ApiError) -> None:
        """Note why there will be no model."""
        self.error = error
        log.error("cannot load model %s: %s", self._config.name, error)

    def _loaded_so_far(self, fraction: float) -> None:
        self.progress = min(fraction, 0.99)

    def _prepared_so_far(self, fraction: float) -> None:
        self._loaded_so_far(fraction * FETCHING_SHARE)

    def _loaded_behind(self, fraction: float) -> None:
        """Take the progress of a load for which something had to be fetched first."""
        self._loaded_so_far(FETCHING_SHARE + (1 - FETCHING_SHARE) * fraction)
