"""The configuration with which a model is served, key by key, and where each value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from localai_flask.config import traits
from localai_flask.config.files.listing import is_yaml
from localai_flask.config.model import EngineConfig, ModelConfig
from localai_flask.config.model_yaml import yamlfile
from localai_flask.config.model_yaml.key_fates import RENAMED
from localai_flask.config.model_yaml.keypaths import KeyPath, dotted
from localai_flask.config.model_yaml.schema import FILLED_IN
from localai_flask.config.model_yaml.variants import find_document
from localai_flask.config.model_yaml.yamlfile import Document
from localai_flask.config.sampling import sampling
from localai_flask.settings import Settings
from localai_flask.settings.fields import PREFIX

SERVER_WIDE = ("threads", "context_size", "f16")
"""Keys that a setting of the same name stands in for."""
GUESSED = "what the model's files are"


class EffectiveKey(msgspec.Struct, frozen=True):
    """One key by its path, as in `parameters.temperature`, its value, and in words where that comes from."""

    key: str
    value: Any
    origin: str


def effective_keys(config: ModelConfig, settings: Settings) -> list[EffectiveKey]:
    """List what has a value other than the default, and all that decides the sampling and the length of requests.

    `config` is as the registry has it. What its YAML has said since it was read is not looked at again, but for lines.
    """
    document = _document_of(config)
    keys = [
        EffectiveKey(dotted(path), value, _origin(path, value, config, document, settings))
        for path, value in _leaves(msgspec.to_builtins(config), ())
        if path[0] not in (*FILLED_IN, "name")
    ]
    known = {each.key for each in keys}
    keys += [each for each in _sampling(config) if each.key not in known]
    if "context_size" not in known and (length := traits.context_length(config)):
        keys.append(EffectiveKey("context_size", length, _of_context(config)))
    return sorted(keys, key=lambda each: each.key)


def _leaves(value: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the values of nested blocks; lists, and mappings that the user fills, count as values."""
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner and not path:
            yield from _leaves(inner, (*path, key))
        elif inner != {}:
            yield (*path, key), inner


def _document_of(config: ModelConfig) -> Document | None:
    """Read a model's YAML again; None for a bare file, and where it is not as it was."""
    source = Path(config.source)
    return find_document(yamlfile.read(source), config.name) if is_yaml(source) else None


def _origin(path: KeyPath, value: Any, config: ModelConfig, document: Document | None, settings: Settings) -> str:
    if document is not None and (line := _line(path, document)):
        return f"{Path(config.source).name}, line {line}"
    if config.parent:
        return f"its parent {config.parent}"
    if path[0] in SERVER_WIDE and getattr(settings, path[0]) == value:
        return f"{PREFIX}{path[0].upper()}"
    if path[0] == "template":
        return f"{config.parameters.model}.tmpl"
    return GUESSED


def _line(path: KeyPath, document: Document) -> int:
    """Return the line where a key is written, be it at its place, at another that is read too, or by an older name."""
    block = path[1:] if path[0] == "parameters" else ("parameters", *path)
    older = [tuple(old.split(".")) for old, new in RENAMED.items() if new == dotted(path)]
    places = (path, block, *older)
    return next((line for place in places if place and (line := document.line_written(place))), 0)


def _sampling(config: ModelConfig) -> Iterator[EffectiveKey]:
    for name, (value, origin) in sampling.defaults(config).items():
        yield EffectiveKey(f"parameters.{name}", value, origin)


def _of_context(config: EngineConfig) -> str:
    header = traits.read_header(config.model_path) if config.parameters.model else None
    trained = f"the model was trained for {header.trained_context}" if header and header.trained_context else GUESSED
    return f"{trained}, and {traits.DEFAULT_CONTEXT} are the most by default"
