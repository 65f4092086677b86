"""Adapters as models: under names of their own, on the weights and by the worker of their parent.

They stand under `adapters:` in the parent's YAML, or each in a file of its own that names its `parent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import msgspec
from msgspec import structs

from localai_flask.config.model import EngineConfig, ModelConfig
from localai_flask.config.model_yaml.yamlfile import Document

KEY = "adapters"
FILE_KEYS = ("lora_adapter", "lora_scale", "lora_adapters", "lora_scales")
OF_PARENT = ("pinned", "keep_alive", "concurrency_groups")
"""Keys of the worker, which serves the parent and all its adapters."""


def documents_of(document: Document, name: str) -> Iterator[Document]:
    """Yield a document for each of a model's adapters, as if it stood in a file of its own.

    Raises `ConfigError` for what are no adapters, naming the line.
    """
    adapters = document.content.get(KEY)
    if adapters is None:
        return
    if not isinstance(adapters, Mapping) or not adapters:
        raise document.error((KEY,), f"`{KEY}` must hold names, each with its file or with keys such as `lora_adapter`")
    for word, said in adapters.items():
        path = (KEY, word)
        keys = {FILE_KEYS[0]: said} if isinstance(said, str) else said
        if not isinstance(word, str) or not word or not isinstance(keys, Mapping):
            raise document.error(path, f"`{KEY}.{word}` must be a name with an adapter's file, or with keys")
        if fixed := next((key for key in ("name", "parent", KEY) if key in keys), None):
            raise document.error((*path, fixed), f"`{KEY}.{word}.{fixed}` cannot be said here")
        yield document._replace(content={**keys, "name": word, "parent": name}, overlay=path)


def check(config: ModelConfig, document: Document) -> None:
    """Raise `ConfigError` naming a key that an adapter cannot have."""
    if config.alias or config.parent == config.name:
        raise document.error(("parent",), "`parent` names the model that the adapter belongs to, and no other")
    if not (config.lora_adapter or config.lora_adapters):
        said = f"an adapter of {config.parent!r} has no file; name it in `lora_adapter`"
        raise document.error((), said, "lora_adapter")
    if len(config.lora_scales) > len(config.lora_adapters):
        raise document.error(("lora_scales",), "`lora_scales` has more entries than `lora_adapters`; remove some")
    if config.download_files:
        said = "of an adapter are not fetched; put its file into the models folder and name it in `lora_adapter`"
        raise document.error(("download_files",), f"files {said}")
    plain = ModelConfig(name=config.name)
    engine = [key for key in EngineConfig.__struct_fields__ if key not in ("name", "parameters", *FILE_KEYS)]
    for key in (*engine, *OF_PARENT):
        if getattr(config, key) != getattr(plain, key):
            raise document.error((key,), f"`{key}` belongs to the parent {config.parent!r}; say it there")
    if config.parameters.model or config.parameters.tokenizer:
        said = "belongs to the parent; name the adapter's file in `lora_adapter`"
        raise document.error(("parameters", "model"), f"`parameters.model` {said}")


def adapted(adapter: ModelConfig, parent: ModelConfig) -> ModelConfig:
    """Return the config of an adapter: its parent's, with what it says itself laid over it."""
    own = {
        key: value
        for key, value in _changes(adapter, parent).items()
        if key not in EngineConfig.__struct_fields__ or key == "parameters"
    }
    own |= {"name": adapter.name, "source": adapter.source, "parent": parent.name, "alias": ""}
    own |= {"disabled": adapter.disabled or parent.disabled, "variant_of": parent.variant_of or parent.name}
    return structs.replace(parent, **own, adapted_by=(*files_of(parent), *files_of(adapter)))


def files_of(config: EngineConfig) -> tuple[tuple[str, float], ...]:
    """Return the adapters that a YAML names, with their scales; one without a scale acts fully."""
    first = [(config.lora_adapter, config.lora_scale)] if config.lora_adapter else []
    pairs = (*first, *zip_longest(config.lora_adapters, config.lora_scales))
    return tuple((file, 1.0 if scale is None else scale) for file, scale in pairs)


def scales_of(config: ModelConfig) -> dict[str, float]:
    """Return how strongly each adapter acts that a model's worker has, on requests that do not say it."""
    used = files_of(config) if config.adapted_by is None else config.adapted_by
    return dict.fromkeys(config.known_adapters, 0.0) | dict(used)


def _changes(over: msgspec.Struct, base: msgspec.Struct) -> dict[str, Any]:
    """Return the fields that `over` sets, laid over those of `base` where they are blocks."""
    plain = {field.name: field.default for field in structs.fields(over)}
    plain |= {
        field.name: field.default_factory()
        for field in structs.fields(over)
        if field.default_factory is not msgspec.NODEFAULT
    }
    found = {}
    for key in over.__struct_fields__:
        value, before = getattr(over, key), getattr(base, key)
        if value == plain[key]:
            continue
        if isinstance(value, msgspec.Struct):
            value = structs.replace(before, **_changes(value, before))
        elif isinstance(value, dict):
            value = before | value
        found[key] = value
    return found
