"""Loading a worker's model: fetch its files, have the engine read them, and keep count of how far that is."""

from __future__ import annotations

import logging
import time

import msgspec

from localai_flask.backends.base import Backend
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError, ModelLoadFailed, OutOfMemory
from localai_flask.gallery.model_files import fetch_missing
from localai_flask.gallery.progress import Progress
from localai_flask.generation import FETCHING_SHARE, ModelInfo

log = logging.getLogger(__name__)

TELL_PROGRESS_S = 5.0
"""Seconds between two lines of the log on a download."""
SAID = 300
"""How many characters of what an engine's library says become part of an error; the log has all."""


class Loading:
    """Loads one model once; `progress` and what has become of it may be read from any thread."""

    def __init__(self, config: EngineConfig):
        self._config = config
        self._told_progress = -float("inf")
        self.progress = 0.0
        self.seconds = 0.0
        """How long the load took, once there is an `info`."""
        self.info: ModelInfo | None = None
        self.error: ApiError | None = None
        """Why the model could not be loaded."""

    def load(self, backend: Backend) -> bool:
        """Load the model into an engine; return whether that has worked."""
        begun, name = time.monotonic(), self._config.name
        try:
            fetched = fetch_missing(self._config, self._fetched_so_far)
            info = backend.load(self._config, self._loaded_behind if fetched else self._loaded_so_far)
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

    def _fetched_so_far(self, progress: Progress) -> None:
        self._loaded_so_far(progress.fraction * FETCHING_SHARE)
        now = time.monotonic()
        if now - self._told_progress >= TELL_PROGRESS_S:
            self._told_progress = now
            log.info("fetching model %s: %s", self._config.name, progress)

    def _loaded_behind(self, fraction: float) -> None:
        """Take the progress of a load whose model had to be fetched first."""
        self._loaded_so_far(FETCHING_SHARE + (1 - FETCHING_SHARE) * fraction)
