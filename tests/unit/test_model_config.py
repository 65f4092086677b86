"""Which keys of a model's YAML load it anew when they change: all fields are walked, and each counts on one side."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec
import pytest

from localai_flask.config.blocks import Limits, ModelFile, Parameters, Template
from localai_flask.config.model import EngineConfig, ModelConfig

PLAIN = ModelConfig(name="plain", parameters=Parameters(model="a.gguf"))
LOADED_ANEW = {*EngineConfig.__struct_fields__} - {"parameters", "name"}


def other(kind: Any, value: Any) -> Any:
    """Return a value of a field's type that differs from this one; ranges do not matter, as nothing checks them."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    kind = next(option for option in options if option is not types.NoneType)
    kind = typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
    kind = typing.get_origin(kind) or kind
    changed = {bool: not value, int: (value or 0) + 1 if kind is int else None, float: 0.5, str: "other"}.get(kind)
    if kind is tuple:
        return ("other",)
    if kind is dict:
        return {"other": "value"}
    return changed


def changes(struct: msgspec.Struct) -> list[tuple[str, msgspec.Struct]]:
    """List the struct with each of its fields changed in turn, those of the blocks in it by their paths."""
    found = []
    for name, kind in typing.get_type_hints(type(struct), include_extras=True).items():
        value = getattr(struct, name)
        if isinstance(value, msgspec.Struct):
            inner = [(f"{name}.{path}", changed) for path, changed in changes(value)]
        else:
            inner = [(name, other(kind, value))]
        found += [(path, msgspec.structs.replace(struct, **{name: changed})) for path, changed in inner]
    return found


CHANGES = changes(PLAIN)


@pytest.mark.parametrize(("path", "changed"), CHANGES, ids=[path for path, _ in CHANGES])
def test_a_change_of_this_key_loads_the_model_anew_or_does_not(path: str, changed: ModelConfig) -> None:
    assert changed != PLAIN
    parts = ("parameters.model", "parameters.tokenizer")
    is_engines = path in LOADED_ANEW or path in parts or path.startswith("proxy.")
    assert (changed.key != PLAIN.key) == is_engines


def test_every_field_of_the_blocks_was_walked() -> None:
    paths = {path for path, _ in CHANGES}
    assert {"template.chat", "limits.max_concurrent", "parameters.model", "parameters.top_p", "options"} <= paths
    assert {"function.grammar.prefix", "reasoning.budget", "lora_scale"} <= paths
    assert len(paths) > 120


def test_what_an_engine_gets_has_nothing_that_it_may_not_use() -> None:
    config = ModelConfig(
        name="m",
        parameters=Parameters(model="a.gguf", temperature=0.5),
        template=Template(chat="x"),
        limits=Limits(max_concurrent=3),
        threads=4,
        models_path="/models",
    )
    assert type(config.engine) is EngineConfig
    assert type(config.engine.parameters) is ModelFile
    assert config.engine.threads == 4
    assert str(config.engine.model_path) == "/models/a.gguf"
    assert not {"template", "limits", "system_prompt"} & set(config.engine.__struct_fields__)


def test_without_a_file_there_is_nothing_to_share() -> None:
    assert ModelConfig(name="a", backend="echo").key != ModelConfig(name="b", backend="echo").key
