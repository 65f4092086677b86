"""The traits of a model: as its engine has said them, or, while it is not loaded, as its YAML and its files do."""

from __future__ import annotations

from localai_flask.api import current
from localai_flask.config import traits
from localai_flask.config.engines.facts import facts
from localai_flask.config.model import ModelConfig
from localai_flask.generation import ModelInfo


def info_of(config: ModelConfig) -> ModelInfo | None:
    """Return what the engine has said of a model; None while it is not loaded."""
    return current.pool().infos().get(config.engine.name)


def abilities(config: ModelConfig) -> frozenset[str]:
    """Return what a model can do, in the words of engines."""
    info = info_of(config)
    return traits.capabilities(config) if info is None else info.capabilities


def template(config: ModelConfig) -> str:
    """Return the chat template: that of the YAML, or else that of the model."""
    if config.template.chat_message or config.template.chat:
        return config.template.chat_message or config.template.chat
    info = info_of(config)
    if info is not None and info.chat_template:
        return info.chat_template
    header = traits.read_header(config.model_path) if facts(config.backend).files == "gguf" else None
    return header.chat_template if header is not None else ""


def context_length(config: ModelConfig) -> int | None:
    """Return how many tokens a request may have."""
    info = info_of(config)
    return traits.context_length(config) if info is None else info.context_length
