"""Variants of a model: what `variants:` in its YAML lays over it, under names such as `qwen:precise`.

A variant is a model of its own to everybody who asks, and is served by the same worker; so it may change whatever needs
no load.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import structs

from localai_flask.config.model import EngineConfig, ModelConfig
from localai_flask.config.model_yaml import adapters
from localai_flask.config.model_yaml.findings import Finding
from localai_flask.config.model_yaml.yamlfile import Document

KEY = "variants"
LATEST = "latest"
"""The word behind the colon that means the model itself."""
_NAME = re.compile(r"[^\s:/\\\x00-\x1f]{1,100}")
BESIDE = (KEY, adapters.KEY)
"""Keys that hold further models."""
_FIXED = ("name", "alias", "parent", "disabled", "pinned", "keep_alive", "concurrency_groups", *BESIDE)
"""Keys that belong to the model and all its variants together."""


def without_others(document: Document) -> Document:
    """Return the document of the model itself, without its variants and adapters."""
    content = {key: value for key, value in document.content.items() if key not in BESIDE}
    return document._replace(content=content)


def documents_of(document: Document, name: str) -> Iterator[tuple[str, Document]]:
    """Yield the full name of each variant, and the model's document with the variant laid over it.

    Raises `ConfigError` for what are no variants, naming the line.
    """
    variants = document.content.get(KEY)
    if variants is None:
        return
    if not isinstance(variants, Mapping) or not variants:
        raise document.error((KEY,), f"`{KEY}` must hold names, with the keys that each changes")
    base = without_others(document).content
    for word, changes in variants.items():
        path = (KEY, word)
        if not _NAME.fullmatch(str(word)) or str(word) == LATEST:
            raise document.error(path, f"`{KEY}.{word}` is no name for a variant; use a word without `:` and `/`")
        if not isinstance(changes, Mapping):
            raise document.error(path, f"`{KEY}.{word}` must hold the keys that the variant changes")
        if fixed := next((key for key in _FIXED if key in changes), None):
            raise document.error((*path, fixed), f"`{KEY}.{word}.{fixed}` belongs to the model, not to a variant of it")
        full_name = f"{name}:{word}"
        content = laid_over(base, changes) | {"name": full_name}
        yield full_name, document._replace(content=content, overlay=path)


def find_document(documents: Iterable[Document], name: str) -> Document | None:
    """Return the document of a file in which the model of this name stands, or one of another; None if none has it."""
    base, _, variant = name.rpartition(":")
    for document in documents:
        found = str(document.content.get("name") or document.file.stem)
        if found == name:
            return document
        if found == base and variant in (document.content.get(KEY) or {}):
            return document._replace(overlay=(KEY, variant))
        if name in (document.content.get(adapters.KEY) or {}):
            return document._replace(overlay=(adapters.KEY, name))
    return None


def laid_over(base: Mapping[Any, Any], changes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a mapping with changes laid over it, key by key in the mappings below too; lists are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = laid_over(before, value)
        merged[key] = value
    return merged


def check_needs_no_load(variant: ModelConfig, model: ModelConfig, document: Document) -> None:
    """Raise `ConfigError` naming a key of a variant that would need a worker of its own."""
    one, other = (structs.replace(each.engine, name="") for each in (variant, model))
    for key in EngineConfig.__struct_fields__:
        if getattr(one, key) != getattr(other, key):
            key = "parameters.model" if key == "parameters" else key
            problem = "decides how the model is loaded, which a variant cannot change; make it a model of its own"
            raise document.error(tuple(key.split(".")), f"`{key}` {problem}")


def own_findings(variant: tuple[Finding, ...], model: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the warnings about what the variant itself has written."""
    known = {(each.line, each.text) for each in model}
    return tuple(each for each in variant if (each.line, each.text) not in known)
