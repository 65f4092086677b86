"""Whether a folder's model sees, and its reader of images if it does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from localai_flask.backends.hugging_face.folder import about
from localai_flask.backends.hugging_face.tokens import Tokens
from localai_flask.backends.transformers.images.processor import read_processor
from localai_flask.backends.transformers.images.reader import ImageReader
from localai_flask.backends.transformers.loading.failures import UNREADABLE, first_line
from localai_flask.backends.transformers.loading.model_types import SEEING
from localai_flask.config.files.snapshot import read_snapshot
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ModelLoadFailed

log = logging.getLogger(__name__)


def open_reader(config: EngineConfig, folder: Path, model: Any, tokens: Tokens) -> tuple[Any, ImageReader | None]:
    """Return the processor and what reads images; None for a model that reads text only here, which is logged.

    Raises `ModelLoadFailed` where `type` asks for a model that sees, or the library cannot read the processor.
    """
    reason, processor = "its folder has no preprocessor_config.json", None
    if read_snapshot(folder).has_processor:
        processor = read_processor(config, folder)
        reason = _reason_for_blindness(model, processor)
    if not reason:
        reader = ImageReader(model, processor, tokens)
        try:
            reader.probe()
        except (*UNREADABLE, TypeError, IndexError) as error:
            reason = first_line(error)
        else:
            return processor, reader
    if config.type == SEEING:
        raise ModelLoadFailed(f"{about(config)} cannot see images with `type: {SEEING}`, as {reason}.")
    log.warning("model %s reads text only, as %s", config.name, reason)
    return processor, None


def _reason_for_blindness(model: Any, processor: Any) -> str:
    """Return why a model is shown no images here; empty if it can be."""
    if model.config.is_encoder_decoder:
        return "images go through an encoder of its text"
    if not (hasattr(model.base_model, "get_image_features") and model._supports_mm_encoder_outputs()):
        return "the library cannot encode its images ahead"
    if getattr(model.config, "image_token_id", None) is None or getattr(processor, "image_token", None) is None:
        return "it has no token that stands for an image"
    return ""
