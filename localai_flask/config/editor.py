"""Changes to a model's YAML, which are checked before they are written and hold from the next look at the folder on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from localai_flask.atomic_file import editing, replace_text
from localai_flask.config.files.bounded import read_text
from localai_flask.config.files.listing import Entry, is_yaml
from localai_flask.config.folder import catalog
from localai_flask.config.folder.catalog import Catalog
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml import file_reader, yamlfile
from localai_flask.config.model_yaml.editing import changed_text
from localai_flask.config.model_yaml.file_reader import Broken
from localai_flask.config.model_yaml.findings import Finding
from localai_flask.config.model_yaml.model_reader import Loaded
from localai_flask.errors import ConfigError, InvalidRequest, ModelNotFound, ServerConfigError
from localai_flask.settings import Settings


class Edited(NamedTuple):
    """A model as it is now, the warnings about its YAML, and whether its change needs a load."""

    config: ModelConfig
    warnings: tuple[Finding, ...]
    needs_load: bool


def change_model(registry: Registry, config: ModelConfig, changes: Mapping[str, Any]) -> Edited:
    """Merge changes into a model's YAML, as in JSON Merge Patch; a bare file gets a YAML beside it.

    Raises `InvalidRequest` if the model could not be used with them, and then nothing is written; `ServerConfigError`
    if the file cannot be written.
    """
    if changes.get("name", config.name) != config.name:
        raise InvalidRequest("`name` cannot be changed here; rename the model in its file.", param="name")
    file = _yaml_of(config, registry.settings)
    with editing(file.parent):
        try:
            text = _text_of(file, config)
            text = changed_text(file, text, config.name, changes)
            edited, warnings = _check(file, text, config.name, registry.settings)
        except ConfigError as error:
            raise InvalidRequest(str(error), param=error.info.param) from error
        try:
            replace_text(file, text)
        except OSError as error:
            raise ServerConfigError(f"{file} cannot be written ({error.strerror}); check its permissions.") from error
    registry.refresh()
    if edited.parent:  # which its file need not have, and which it has loaded all that there is to load
        return Edited(registry.models().get(edited.name, edited), warnings, needs_load=False)
    return Edited(edited, warnings, edited.key != config.key)


def written_text(config: ModelConfig, file: Path) -> str:
    """Return the YAML of a model in its file, or what would say the same of one that has none."""
    return read_text(file, yamlfile.MOST_BYTES) if is_yaml(file) and file.exists() else _beginning(config)


def check_written(text: str, file: Path, settings: Settings) -> tuple[Finding, ...]:
    """Return all that is wrong with a text, as if it stood in a file of the models folder."""
    return _build(file, file_reader.read(file, text), len(text), settings).findings


def _build(file: Path, items: list[Loaded | Broken], size: int, settings: Settings) -> Catalog:
    return catalog.build((Entry(str(file), "yaml", 0, size),), {str(file): items}, settings)


def _yaml_of(config: ModelConfig, settings: Settings) -> Path:
    source = Path(config.source)
    if is_yaml(source):
        return source
    stem = PurePosixPath(config.name).name.removesuffix(".gguf")
    file = settings.models_path.absolute() / f"{stem}.yaml"
    if file.exists():
        raise InvalidRequest(f"{file} is there already, and is about another model; edit it by hand.", param="model")
    return file


def _text_of(file: Path, config: ModelConfig) -> str:
    """Return the text to change; raise `ModelNotFound` if the model has been deleted since it was looked up."""
    if file.exists():
        return read_text(file, yamlfile.MOST_BYTES)
    if not Path(config.source).exists():
        raise ModelNotFound(f"There is no model {config.name!r} any more.", param="model")
    return _beginning(config)


def _beginning(config: ModelConfig) -> str:
    """Return the YAML that says of a bare file what was true without it."""
    return yamlfile.dump({"name": config.name, "parameters": {"model": config.parameters.model}})


def _check(file: Path, text: str, name: str, settings: Settings) -> tuple[ModelConfig, tuple[Finding, ...]]:
    """Read a text as if it stood in the file; raise `ConfigError` if the model could not be used."""
    items = file_reader.read(file, text)
    for item in items:
        if isinstance(item, Broken) and (item.name in (name, file.stem) or item.name.startswith(f"{name}:")):
            raise item.error
    found = _build(file, items, len(text), settings)
    if name in found.problems:
        raise found.problems[name]
    warnings = tuple(each for each in found.findings if each.model == name and not each.is_fault)
    return found.models[name], warnings
