"""A model's folder, before anything in it is read: whether it is one."""

from __future__ import annotations

from pathlib import Path

from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError


def about(config: EngineConfig) -> str:
    """Begin a sentence about a model."""
    return f"Model {config.name}: the {config.backend} backend"


def find_folder(config: EngineConfig) -> Path:
    """Return a model's folder; raise `ConfigError` for what no folder of a model is."""
    folder = config.model_path
    if not config.parameters.model or not folder.exists():
        raise ConfigError(f"{about(config)} finds no folder {folder}; correct `model`.", param="parameters.model")
    if not folder.is_dir():
        raise ConfigError(
            f"{about(config)} needs a folder, but {folder} is a file; for a .gguf file use `backend: llama-cpp`.",
            param="parameters.model",
        )
    if not (folder / "config.json").exists():
        raise ConfigError(f"{about(config)} finds no config.json in {folder}; download the whole model.")
    return folder
