"""A model's YAML with some of its keys changed; all else in the file stays as it is: comments, order and quotes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localai_flask.config.model_yaml import yamlfile
from localai_flask.config.model_yaml.adapters import KEY as ADAPTERS
from localai_flask.config.model_yaml.variants import KEY as VARIANTS
from localai_flask.errors import ConfigError

WIDEST = 4096
"""Columns before a line of text is broken: never, as far as people write lines."""


def changed_text(file: Path, text: str, name: str, changes: Mapping[str, Any]) -> str:
    """Return the text of a YAML file in which the model of this name, or its variant, has changes merged into it.

    As in JSON Merge Patch (RFC 7396), mappings are merged, null takes a key away, and all else is replaced. Raises
    `ConfigError` if the file is not YAML, or no longer has that model.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = WIDEST
    yamlfile.read_documents(text, file)  # its limits are tighter
    try:
        content = yaml.load(text)
    except YAMLError as error:
        raise ConfigError(f"{file} cannot be edited ({str(error).splitlines()[0]}); edit it by hand.") from error
    _merge(_find(content, file, name), changes)
    written = io.StringIO()
    yaml.dump(content, written)
    return written.getvalue()


def _find(content: Any, file: Path, name: str) -> Any:
    """Return the mapping of a model, variant or adapter within a file's content."""
    models = {
        str(each.get("name") or file.stem): each for each in (content if isinstance(content, list) else [content])
    }
    if name in models:
        return models[name]
    for adapters in (each.get(ADAPTERS) for each in models.values()):
        if adapters and name in adapters:
            if isinstance(adapters[name], str):
                adapters[name] = {"lora_adapter": adapters[name]}
            return adapters[name]
    base, _, variant = name.rpartition(":")
    variants = models[base].get(VARIANTS) if base in models else None
    if not variants or variant not in variants:
        raise ConfigError(f"{file} has no model {name!r} any more; look at it again.")
    return variants[variant]


def _merge(target: Any, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            if not isinstance(target.get(key), Mapping):
                target[key] = {}
            _merge(target[key], value)
        else:
            target[key] = value
