"""YAML's mappings to structs: marshmallow schemas derived from them, so that each key is declared once.

Knows nothing of files, and no defaults beyond the structs'; what becomes of complaints is for others to say.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import msgspec
from marshmallow import RAISE, Schema, ValidationError, fields, post_load, pre_load
from msgspec import inspect

from localai_flask.config import model, scalars
from localai_flask.config.model_yaml.keypaths import KeyPath
from localai_flask.sizes import parse_duration

FILLED_IN = frozenset({"models_path", "source", "file_stamp", "variant_of", "adapted_by", "known_adapters"})
"""Fields of `ModelConfig` that the registry writes; in YAML they are unknown keys."""
UNKNOWN = "is unknown"
"""What is said of a key that no struct has."""
MISSING = "is missing"
"""What is said of a key that has to be there."""

_SCALARS: dict[type[inspect.Type], Callable[..., Any]] = {
    inspect.IntType: scalars.whole,
    inspect.FloatType: scalars.number,
    inspect.StrType: scalars.text,
    inspect.BoolType: lambda value, kind: scalars.flag(value),
    inspect.Metadata: lambda value, kind: parse_duration(value),  # blocks.Duration is the one that has any
}


def read_struct(content: Mapping[Any, Any]) -> tuple[model.ModelConfig | None, list[tuple[KeyPath, str]]]:
    """Read a config, or find all that is wrong with it: paths with the rest of a sentence."""
    try:
        return schema_for(model.ModelConfig)().load(content), []
    except ValidationError as error:
        return None, list(_complaints(error.messages))


def keys_of(path: tuple[str, ...]) -> frozenset[str]:
    """List the keys that a block may hold; none where the path is no block."""
    schema: Schema = schema_for(model.ModelConfig)()
    for part in path:
        field = schema.fields.get(part)
        field = getattr(field, "inner", field)
        if not isinstance(field, fields.Nested):
            return frozenset()
        schema = field.schema
    return frozenset(schema.fields)


def without_nulls(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Leave out keys that are there without a value."""
    return {key: value for key, value in data.items() if value is not None}


class _StructSchema(Schema):
    """One struct's keys; loading gives the struct."""

    struct: ClassVar[type[msgspec.Struct]]
    error_messages: dict[str, str] = {"type": "must hold keys with values", "unknown": UNKNOWN}

    class Meta:
        unknown = RAISE

    @pre_load
    def drop_nulls(self, data: Any, **_: Any) -> Any:
        return without_nulls(data) if isinstance(data, Mapping) else data

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> msgspec.Struct:
        return self.struct(**data)


@functools.cache
def schema_for(struct: type[msgspec.Struct]) -> type[_StructSchema]:
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
    if isinstance(kind, inspect.Metadata) and not (kind.extra or {}).get("is_duration"):
        kind = kind.type
    said: dict[str, Any] = {"required": MISSING, "null": "has no value; give it one, or remove it"}
    match kind:
        case inspect.StructType():
            return fields.Nested(schema_for(kind.cls), required=required, error_messages=said)
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


def _complaints(messages: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Walk marshmallow's nested messages."""
    if isinstance(messages, dict):
        for key in sorted(messages, key=str):
            yield from _complaints(messages[key], path if key == "_schema" else (*path, key))
    else:
        yield path, messages[0]
