"""Which class of the library a model is made with: what `type` names, or what suits its folder."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import transformers
from transformers.models.auto import modeling_auto

from localai_flask.backends.hugging_face.folder import about
from localai_flask.backends.transformers.loading.failures import LIBRARY
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError

DECODERS, ENCODER_DECODERS, SEEING = "AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForImageTextToText"
ANY_WRITER = ("", DECODERS, "Mamba")
"""What `type` says where the folder decides; Mamba is LocalAI's word."""


def class_of_writer(config: EngineConfig, described: Mapping[str, Any]) -> Any:
    """Return the class for a model that writes text, whose config.json says this.

    Raises `ConfigError` if `type` names none, or one for another architecture.
    """
    kind, wanted = described.get("model_type"), config.type
    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    paired = modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    seeing = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if wanted in ANY_WRITER:
        is_seeing = kind in seeing and (wanted == "" or kind not in {*causal, *paired})
        return getattr(
            transformers,
            SEEING if is_seeing else ENCODER_DECODERS if kind in paired and kind not in causal else DECODERS,
        )
    if wanted in (ENCODER_DECODERS, SEEING):
        return getattr(transformers, wanted)
    names = {DECODERS, ENCODER_DECODERS, SEEING, *_names(causal), *_names(paired), *_names(seeing)}
    if wanted not in names:
        near = get_close_matches(wanted, names, n=1)
        meant = f"perhaps {near[0]!r} is meant" if near else f"use {DECODERS!r}, or the name of its class"
        said = f"{about(config)} has no type {wanted!r} that writes text with {LIBRARY}: {meant}."
        raise ConfigError(said, param="type")
    cls = getattr(transformers, wanted)
    made_for = getattr(getattr(cls, "config_class", None), "model_type", kind)
    if made_for != kind:
        raise ConfigError(
            f"{about(config)} cannot load an architecture {kind!r} with `type: {wanted}`, which is for {made_for!r}; "
            f"write `type: {DECODERS}`, with which the folder decides.",
            param="type",
        )
    return cls


def _names(mapping: Mapping[str, Any]) -> set[str]:
    """Return the classes of one of the library's tables, in which an architecture may have several."""
    return {name for names in mapping.values() for name in ([names] if isinstance(names, str) else names)}


def is_seeing_class(cls: Any) -> bool:
    """Return whether a class of the library is for models that read images and text."""
    return cls.__name__ == SEEING or cls.__name__ in _names(modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
