"""The files that a model's YAML lists with their origin: whether they can be fetched, and which are missing."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from localai_flask.config import references
from localai_flask.config.blocks import DownloadFile
from localai_flask.config.engines.facts import facts
from localai_flask.config.engines.names import meant_by
from localai_flask.config.files.settling import all_parts
from localai_flask.config.model import EngineConfig, ModelConfig
from localai_flask.config.model_yaml.paths import LEADS_OUT
from localai_flask.config.references import Reference
from localai_flask.errors import ConfigError

ADDRESS_KEYS = ("mmproj", "draft_model", "lora_adapter")
"""What may be an address beside `parameters.model`."""
LAST_OF_FOLDER = "config.json"
"""What is fetched last of a folder: with it the folder counts as a model, and as whole."""


def name_files(config: ModelConfig, source: Path) -> ModelConfig:
    """Turn addresses that stand for files into the names those get, and list them in `download_files`.

    Raises `ConfigError` if an address cannot be read.
    """
    for entry in config.download_files:
        _check_entry(entry, source)
    config, model = _named(config, config.parameters.model, "parameters.model", source)
    config = structs.replace(config, parameters=structs.replace(config.parameters, model=model))
    for key in ADDRESS_KEYS:
        config, name = _named(config, getattr(config, key), key, source)
        config = structs.replace(config, **{key: name})
    return config


def _named(config: ModelConfig, value: str, key: str, source: Path) -> tuple[ModelConfig, str]:
    """Return the file that a key's value means, with the config that lists where it comes from."""
    if references.is_local(value):
        path = _parse(value, key, source).path
        if path.startswith("/"):
            raise ConfigError(f"{source}: `{key}` {LEADS_OUT.format(name=value)}.", param=key)
        return config, path
    if not references.is_fetched(value):
        return config, value
    listed = next((entry for entry in config.download_files if entry.uri == value), None)
    if listed is None:
        listed = DownloadFile(filename=_local_name(_parse(value, key, source), config.backend), uri=value)
        config = structs.replace(config, download_files=(*config.download_files, listed))
    return config, listed.filename


def _local_name(reference: Reference, backend: str) -> str:
    """Return what a file is called here whose name only its source knows: decided before anybody is asked.

    A whole repository of a hub means a folder of safetensors for some engines, where all others want GGUF.
    """
    if reference.file_name:
        return reference.file_name
    wants_folder = facts(meant_by(backend).engine).files == "folder"
    return reference.repo if wants_folder else f"{reference.stem}.gguf"


def _check_entry(entry: DownloadFile, source: Path) -> None:
    if references.is_fetched(entry.uri):
        _parse(entry.uri, "download_files", source)
        if entry.sha256 and not references.is_sha256(entry.sha256):
            raise ConfigError(
                f"{source}: `download_files`: the sha256 of {entry.filename} is not of 64 hexadecimal digits.",
                param="download_files",
            )


def _parse(uri: str, key: str, source: Path) -> Reference:
    try:
        return references.parse(uri)
    except ValueError as error:
        raise ConfigError(f"{source}: `{key}`: the address {uri} {error}.", param=key) from error


def missing_files(config: EngineConfig) -> list[DownloadFile]:
    """List the files of `download_files` that are not there, or not whole: parts of a split file, or of a folder."""
    folder = Path(config.models_path)
    return [entry for entry in config.download_files if not _is_there(folder / entry.filename)]


def _is_there(path: Path) -> bool:
    if path.is_dir():
        return (path / LAST_OF_FOLDER).exists()
    return all(part.exists() for part in all_parts(path))


def check_files(config: EngineConfig) -> None:
    """Raise `ConfigError` if the YAML lists a file that is not there and that nothing here can fetch."""
    for entry in missing_files(config):
        if not references.is_fetched(entry.uri):
            origin = f" from {entry.uri}" if entry.uri else ""
            path = Path(config.models_path) / entry.filename
            raise ConfigError(
                f"Model {config.name}: `download_files` lists {entry.filename}; download it{origin} to {path}."
            )
