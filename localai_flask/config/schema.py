"""YAML's mappings to `ModelConfig`: a marshmallow schema derived from the structs, so that each key is declared once.

A key that nobody declared is refused with the nearest known one. Knows no folder and no defaults beyond the structs'.
"""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from marshmallow import RAISE, Schema, ValidationError, fields, post_load, pre_load
from msgspec import inspect

from localai_flask.config import model, scalars
from localai_flask.config.elsewhere import KNOWN_ELSEWHERE, sift
from localai_flask.errors import ConfigError

log = logging.getLogger(__name__)

FILLED_IN = frozenset({"models_path", "source"})
"""Fields of `ModelConfig` that the registry writes; in YAML they are unknown keys."""

ENGINE_KEYS = frozenset({"batch", "n_keep", "rope_freq_base", "rope_freq_scale"})
"""Keys that LocalAI has under `parameters:` and that no request sets."""
SAMPLING_KEYS = frozenset({"mirostat", "mirostat_tau", "mirostat_eta"})
"""Keys that LocalAI has outside of `parameters:` and that a request may set."""

_UNKNOWN = "is unknown"
_SCALARS: dict[type[inspect.Type], Callable[..., Any]] = {
    inspect.IntType: scalars.whole,
    inspect.FloatType: scalars.number,
    inspect.StrType: scalars.text,
    inspect.BoolType: lambda value, kind: scalars.flag(value),
}


def load(raw: Mapping[Any, Any], file: Path) -> model.ModelConfig:
    """Turn one mapping of a YAML file into a config; a missing name is the file's stem.

    Raises `ConfigError` with the file, the key and what to change.
    """
    ours, elsewhere = sift(_with_keys_in_place({"name": file.stem, **_without_nulls(raw)}))
    for path, fate in elsewhere.items():
        if fate.refused:
            raise ConfigError(f"{file}: `{path}` {fate.sentence}.", param=path)
    if elsewhere:
        log.info(
            "%s: without effect here: %s", file, "; ".join(f"`{p}` {fate.sentence}" for p, fate in elsewhere.items())
        )
    try:
        config: model.ModelConfig = _schema_for(model.ModelConfig)().load(ours)
    except ValidationError as error:
        path, problem = _first(error.messages)
        raise ConfigError(f"{file}: `{path}` {_with_hint(path, problem)}.", param=path) from None
    _check_it_travels(config, file)
    return config


def _check_it_travels(config: model.ModelConfig, file: Path) -> None:
    """Refuse free-form values, as in `chat_template_kwargs`, that cannot be sent to a model worker."""
    try:
        model.encode(config)
    except OverflowError as error:
        raise ConfigError(f"{file}: a number does not fit into 64 bits; correct it.") from error
    except TypeError as error:
        raise ConfigError(f"{file}: a key is not text; put numbers that are keys in quotes.") from error


def _with_keys_in_place(raw: dict[Any, Any]) -> dict[Any, Any]:
    """Read those of LocalAI's `parameters` that are settings of the engine as such, and the other way round."""
    parameters = raw.get("parameters", {})
    if not isinstance(parameters, dict):
        return raw
    up = {key: value for key, value in parameters.items() if key in ENGINE_KEYS}
    down = {key: value for key, value in raw.items() if key in SAMPLING_KEYS}
    if not up and not down:
        return raw
    stay = {key: value for key, value in raw.items() if key not in SAMPLING_KEYS}
    rest = {key: value for key, value in parameters.items() if key not in ENGINE_KEYS}
    return {**_without_nulls(up), **stay, "parameters": {**down, **rest}}


def _without_nulls(data: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in data.items() if value is not None}


class _StructSchema(Schema):
    """One struct's keys; loading gives the struct."""

    struct: ClassVar[type[msgspec.Struct]]
    error_messages: dict[str, str] = {"type": "must hold keys with values", "unknown": _UNKNOWN}

    class Meta:
        unknown = RAISE

    @pre_load
    def drop_nulls(self, data: Any, **_: Any) -> Any:
        return _without_nulls(data) if isinstance(data, Mapping) else data

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> msgspec.Struct:
        return self.struct(**data)


@functools.cache
def _schema_for(struct: type[msgspec.Struct]) -> type[_StructSchema]:
    """Derive the schema of a struct."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    columns = {
        field.encode_name: _field_for(field.type, required=field.required)
        for field in info.fields
        if not (struct is model.ModelConfig and field.name in FILLED_IN)
    }
    schema = _StructSchema.from_dict(columns, name=f"{struct.__name__}Schema")
    assert issubclass(schema, _StructSchema)
    schema.struct = struct
    return schema


def _field_for(kind: inspect.Type, required: bool = False) -> fields.Field:
    if isinstance(kind, inspect.UnionType):  # "or None" means that the key may be absent
        (kind,) = (each for each in kind.types if not isinstance(each, inspect.NoneType))
    said: dict[str, Any] = {"required": "is missing"}
    match kind:
        case inspect.StructType():
            return fields.Nested(_schema_for(kind.cls), required=required, error_messages=said)
        case inspect.VarTupleType():
            return _Items(_field_for(kind.item_type), required=required, error_messages=said)
        case inspect.DictType():
            return _Table(
                _field_for(kind.key_type), _field_for(kind.value_type), required=required, error_messages=said
            )
        case inspect.AnyType():
            return fields.Raw(allow_none=True, required=required, error_messages=said)
    return _Scalar(kind, required=required, error_messages=said)


class _Scalar(fields.Field):
    """A value that one of the functions in scalars.py checks."""

    def __init__(self, kind: inspect.Type, **options: Any):
        super().__init__(**options)
        self.kind, self.check = kind, _SCALARS[type(kind)]

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> Any:
        try:
            return self.check(value, self.kind)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class _Items(fields.List):
    """A list; one text stands for a list of one."""

    default_error_messages = {"invalid": "must be a list"}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        return tuple(super()._deserialize([value] if isinstance(value, str) else value, attr, data, **options))


class _Table(fields.Field):
    """A mapping whose keys the user chooses."""

    def __init__(self, keys: fields.Field, values: fields.Field, **options: Any):
        super().__init__(**options)
        self.keys, self.values = keys, values

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise ValidationError("must hold keys with values")
        table = {}
        for key, item in value.items():
            try:
                table[self.keys.deserialize(key)] = self.values.deserialize(item)
            except ValidationError as error:
                raise ValidationError({str(key): error.messages}) from None
        return table


def _first(messages: Any, path: str = "") -> tuple[str, str]:
    """Find the first complaint in marshmallow's nested messages: its dotted path and its text."""
    while isinstance(messages, dict):
        key = min(messages, key=str)
        if isinstance(key, int) and path:
            path = f"{path}[{key}]"
        elif key != "_schema":
            path = f"{path}.{key}" if path else str(key)
        messages = messages[key]
    return path, messages[0]


def _with_hint(path: str, problem: str) -> str:
    """Add what an unknown key was probably meant to be."""
    if problem != _UNKNOWN:
        return problem
    block, _, key = path.rpartition(".")
    for home in ("parameters", "template"):
        if home != block and key in _keys_of(home):
            return f"is unknown here; it belongs under `{home}:`"
    if block and key in _keys_of(""):
        return f"is unknown here; it belongs to the top level, outside of `{block}:`"
    near = difflib.get_close_matches(key, _keys_of(block), n=1, cutoff=0.75)
    return f"is unknown; perhaps `{near[0]}` is meant" if near else "is unknown; remove it"


def _keys_of(block: str) -> list[str]:
    """List the keys that may stand in a block, ours and those known elsewhere."""
    prefix = f"{block}." if block else ""
    elsewhere = [key.removeprefix(prefix).partition(".")[0] for key in KNOWN_ELSEWHERE if key.startswith(prefix)]
    schema: Schema = _schema_for(model.ModelConfig)()
    for part in block.split(".") if block else ():
        field = schema.fields.get(part.partition("[")[0])
        field = getattr(field, "inner", field)
        if not isinstance(field, fields.Nested):
            return elsewhere
        schema = field.schema
    return [*schema.fields, *elsewhere]
