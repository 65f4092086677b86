"""The models of one YAML file, each with its variants, and what keeps a mapping of it from being a model.

Only what no folder could make right is refused here; whether the files are there is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from localai_flask.config import references
from localai_flask.config.engines.names import ELSEWHERE
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml import adapters, downloads, model_reader, templates, variants, yamlfile
from localai_flask.config.model_yaml.model_reader import Loaded
from localai_flask.config.model_yaml.yamlfile import Document
from localai_flask.errors import ConfigError

GALLERY_KEYS = frozenset({"config_file", "overrides", "files"})
"""What stands in the entries of LocalAI's galleries, and not in the YAML of a model."""
NEEDS_NO_MODEL = frozenset({"echo", "cloud-proxy"})


class Broken(NamedTuple):
    """A mapping, or a whole file, that makes no model; `model` is the file that it would have used."""

    name: str
    model: str
    error: ConfigError


def read(file: Path, text: str | None = None) -> list[Loaded | Broken]:
    """Read every mapping of a YAML file, or of a text that is to be in it.

    What cannot be used becomes `Broken`, without harm to its neighbours.
    """
    try:
        documents = yamlfile.read(file) if text is None else yamlfile.read_documents(text, file)
    except ConfigError as error:
        return [Broken(file.stem, "", error)]
    return [item for document in documents for item in _read_all(document, only=len(documents) == 1)]


def _read_all(document: Document, only: bool) -> Iterator[Loaded | Broken]:
    """Yield a model, its variants and its adapters."""
    model = _read_one(variants.without_others(document), only)
    yield model
    if isinstance(model, Broken):
        return
    try:
        for name, varied in variants.documents_of(document, model.config.name):
            yield _read_variant(name, varied, model)
    except ConfigError as error:
        yield Broken(f"{model.config.name}:", "", error)
    try:
        for each in adapters.documents_of(document, model.config.name):
            yield _read_one(each, only=True)
    except ConfigError as error:
        yield Broken(f"{model.config.name}:", "", error)


def _read_variant(name: str, document: Document, model: Loaded) -> Loaded | Broken:
    variant = _read_one(document, only=True)
    if isinstance(variant, Broken):
        return variant
    try:
        variants.check_needs_no_load(variant.config, model.config, document)
    except ConfigError as error:
        return Broken(name, "", error)
    return variant._replace(findings=variants.own_findings(variant.findings, model.findings))


def check_text(text: str, file: Path) -> ModelConfig:
    """Read what is to become the YAML file of one model; raise `ConfigError` if it cannot be used."""
    documents = yamlfile.read_documents(text, file)
    if len(documents) != 1:
        raise ConfigError(f"{file} is to hold one model, not {len(documents)}.")
    found = _read_one(documents[0], only=True)
    if isinstance(found, Broken):
        raise found.error
    return found.config


def _read_one(document: Document, only: bool) -> Loaded | Broken:
    content = document.content
    name = str(content.get("name") or (document.file.stem if only else ""))
    parameters = content.get("parameters")
    model = parameters.get("model") if isinstance(parameters, dict) else None
    try:
        if not name:
            raise document.error((), "a model of the list has no `name`; give it one", "name")
        loaded = model_reader.load(document._replace(content={**content, "name": content.get("name") or name}))
        loaded = loaded._replace(config=downloads.name_files(loaded.config, document.file))
        _check(loaded.config, document)
    except ConfigError as error:
        return Broken(name or document.file.stem, model if isinstance(model, str) else "", error)
    return loaded


def _say_model_is_missing(config: ModelConfig, document: Document) -> str:
    """Return why a model has no file: LocalAI needs none for what this server does not do at all."""
    if config.backend in ELSEWHERE:
        return f"`backend: {config.backend}` {ELSEWHERE[config.backend]}"
    if "pipeline" in document.content:
        return "`pipeline` joins models to one that speaks, which this server does not serve; leave the file as it is"
    if not GALLERY_KEYS.isdisjoint(document.content):
        return (
            "`parameters.model` is missing, since this is a gallery's entry and no model's YAML; make what stands "
            "under its `config_file` a file of its own, with its `overrides` laid over"
        )
    return "`parameters.model` is missing; name the model's file or folder"


def _check(config: ModelConfig, document: Document) -> None:
    """Refuse what no folder could make right."""
    model = config.parameters.model
    if config.name in config.fallback:
        raise document.error(("fallback",), "`fallback` names the model itself; name others, or remove it")
    if config.alias:
        if config.alias == config.name:
            raise document.error(("alias",), "`alias` names the model itself; name another, or remove it")
        if config.backend or model:
            raise document.error(
                ("alias",), "`alias` only names another model; remove `backend` and `parameters.model`"
            )
        return
    if config.parent:
        adapters.check(config, document)
        return
    if not model and config.backend not in NEEDS_NO_MODEL:
        raise document.error(("parameters",), _say_model_is_missing(config, document), "parameters.model")
    if references.is_address(model):
        said = (
            "`parameters.model` is an address of no kind that the server fetches; put the file into the models folder"
        )
        raise document.error(("parameters", "model"), said)
    for key, text in templates.inline(config).items():
        if problem := templates.syntax_problem(key, text):
            raise document.error(("template", key), f"`template.{key}` {problem}")
