"""Whether a model sees: the projector that its YAML names is opened, or passed over with a warning.

llama.cpp's mtmd is a library of its own, which is loaded for models that have a projector, and may be missing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from localai_flask.backends.llama_cpp.model.library import LogCapture
from localai_flask.backends.llama_cpp.options.options import EngineOptions

if TYPE_CHECKING:
    from localai_flask.backends.llama_cpp.vision.projector import Projector

log = logging.getLogger(__name__)


def open_projector(handle: Any, options: EngineOptions, capture: LogCapture) -> Projector | None:
    """Load what makes images readable for a model; None if there is no such file, or it is of no use.

    Raises `ConfigError` or `ModelLoadFailed` for one that is broken or was made for another model.
    """
    if options.mmproj is None:
        return None
    from localai_flask.backends.llama_cpp.vision.projector import Projector, find_obstacle

    if obstacle := find_obstacle(options.mmproj):
        log.warning("%s has no effect, as %s; the model reads text", options.mmproj, obstacle)
        return None
    return Projector(options.mmproj, handle, options, capture)
