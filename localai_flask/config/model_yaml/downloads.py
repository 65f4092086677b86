"""The files that a model's YAML lists with their origin: whether they can be fetched, and which are missing."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from localai_flask.config import references
from localai_flask.config.model import DownloadFile, EngineConfig, ModelConfig
from localai_flask.config.references import Reference
from localai_flask.errors import ConfigError


def name_file(config: ModelConfig, source: Path) -> ModelConfig:
    """Turn a `parameters.model` that is an address into the name its file gets, and list it in `download_files`.

    Raises `ConfigError` if an address cannot be read.
    """
    for entry in config.download_files:
        _check_entry(entry, source)
    model = config.parameters.model
    if not references.is_fetched(model):
        return config
    parsed = _parse(model, "parameters.model", source)
    listed = next((entry for entry in config.download_files if entry.uri == model), None)
    entry = listed or DownloadFile(filename=parsed.file_name, uri=model)
    return structs.replace(
        config,
        parameters=structs.replace(config.parameters, model=entry.filename),
        download_files=config.download_files if listed else (*config.download_files, entry),
    )


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
    """List the files of `download_files` that are not there."""
    folder = Path(config.models_path)
    return [entry for entry in config.download_files if not (folder / entry.filename).exists()]


def check_files(config: EngineConfig) -> None:
    """Raise `ConfigError` if the YAML lists a file that is not there and that nothing here can fetch."""
    for entry in missing_files(config):
        if not references.is_fetched(entry.uri):
            origin = f" from {entry.uri}" if entry.uri else ""
            path = Path(config.models_path) / entry.filename
            raise ConfigError(
                f"Model {config.name}: `download_files` lists {entry.filename}; download it{origin} to {path}."
            )
