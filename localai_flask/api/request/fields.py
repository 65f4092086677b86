"""marshmallow fields that take exactly their JSON type, and say what is wrong as a predicate of the field."""

from __future__ import annotations

import difflib
from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.request.parsing import Unsupported
from localai_flask.sizes import parse_duration

COMMON: dict[str, Any] = {"required": "is required.", "null": "must not be null.", "validator_failed": "is not valid."}
MAX_INTEGER = 2**63 - 1
MAX_DEPTH = 100
"""How deep free JSON may be nested: what writes it out again recurses, in a stack that is already in use."""

MAX_ENTRIES = 20_000
"""How many messages, tools, biases or the like one list or object may have."""


class Text(fields.String):
    default_error_messages = {**COMMON, "invalid": "must be a string."}


class Flag(fields.Boolean):
    default_error_messages = {**COMMON, "invalid": "must be true or false."}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Whole(fields.Integer):
    """An integer from `low` to `high`; 5.0 is one, as in JSON Schema, since some languages write all numbers so."""

    default_error_messages = {**COMMON, "invalid": "must be an integer."}

    def __init__(self, low: int = -MAX_INTEGER - 1, high: int = MAX_INTEGER, **kwargs: Any):
        super().__init__(strict=True, validate=Between(low, high), **kwargs)

    def _validated(self, value: Any) -> int:
        return super()._validated(int(value) if isinstance(value, float) and value.is_integer() else value)


class Decimal(fields.Float):
    """A number from `low` to `high`."""

    default_error_messages = {**COMMON, "invalid": "must be a number.", "too_large": "is out of range."}

    def __init__(self, low: float, high: float, **kwargs: Any):
        super().__init__(validate=Between(low, high), **kwargs)

    def _validated(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        return super()._validated(value)


class Duration(fields.Field):
    """Seconds, or a text as `parse_duration` reads it."""

    default_error_messages = COMMON

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.metadata = {"anyOf": [{"type": "number"}, {"type": "string"}], **self.metadata}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        try:
            return parse_duration(value)
        except ValueError as error:
            raise ValidationError(f"{error}.") from None


class Many(fields.List):
    """A list, of which the first wrong entry is reported: a million of them would take minutes."""

    default_error_messages = {**COMMON, "invalid": "must be a list.", "many": "may have at most {most} entries."}

    def __init__(self, inner: Any, most: int = MAX_ENTRIES, **kwargs: Any):
        super().__init__(inner, **kwargs)
        self.inner.error_messages["null"] = COMMON["null"]
        self._most = most

    def _deserialize(self, value: Any, *_: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if len(value) > self._most:
            raise self.make_error("many", most=f"{self._most:,}")
        return [self._entry(index, each, kwargs) for index, each in enumerate(value)]

    def _entry(self, index: int, value: Any, kwargs: dict[str, Any]) -> Any:
        try:
            return self.inner.deserialize(value, **kwargs)
        except ValidationError as error:
            raise ValidationError({index: error.messages}) from None


class Mapping(fields.Dict):
    """An object of any content, or of entries of one kind, of which it then has at most `MAX_ENTRIES`."""

    default_error_messages = {
        **COMMON,
        "invalid": "must be an object.",
        "deep": f"is nested deeper than {MAX_DEPTH}.",
        "many": f"may have at most {MAX_ENTRIES:,} entries.",
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if self.value_field is not None and isinstance(value, dict) and len(value) > MAX_ENTRIES:
            raise self.make_error("many")
        if is_deeper(value, MAX_DEPTH):
            raise self.make_error("deep")
        try:
            return super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            raise ValidationError(_of_entries(error.messages)) from None


def _of_entries(messages: Any) -> Any:
    """Take out of marshmallow's messages whether each is about an entry's key or value: its path is the key alone."""
    if not isinstance(messages, dict):
        return messages
    return {key: next(iter(about.values())) for key, about in messages.items()}


class Object(fields.Nested):
    default_error_messages = {**COMMON, "type": "must be an object."}


class Either(fields.Raw):
    """A value of several types; a subclass tells them apart."""

    default_error_messages = COMMON


class Refused(fields.Raw):
    """A known field that cannot be honoured: anything but an empty or harmless value is refused, with the reason."""

    default_error_messages = COMMON

    def __init__(self, reason: str, harmless: tuple[Any, ...] = ()):
        super().__init__(allow_none=True, load_only=True, metadata={"description": f"Refused: it {reason}"})
        self._reason = reason
        self._harmless = harmless

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> None:
        if value and value not in self._harmless:
            raise ValidationError([Unsupported(self._reason)])


class Fixed(Refused):
    """A known field of which only some values can be honoured: all others are refused, also 0 and false."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> None:
        if not any(type(value) is type(each) and value == each for each in self._harmless):
            raise ValidationError([Unsupported(self._reason)])


class Noted(fields.Raw):
    """A known field that asks for nothing an answer could show: any value is taken, for the reason given."""

    default_error_messages = COMMON

    def __init__(self, reason: str):
        description = f"Taken without effect: it {reason}"
        super().__init__(allow_none=True, load_only=True, metadata={"description": description})


class RequestSchema(marshmallow.Schema):
    """A body, or an object in one: fields that nobody knows are ignored, and null means absent."""

    class Meta:
        unknown = marshmallow.EXCLUDE

    error_messages = {"type": "must be an object."}

    @marshmallow.pre_load
    def drop_nulls(self, data: Any, **_: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class StrictSchema(RequestSchema):
    """A body in which every field has to be known."""

    @marshmallow.pre_load
    def refuse_unknown(self, data: Any, **_: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in self.fields:
                near = difflib.get_close_matches(str(key), self.fields, n=1, cutoff=0.6)
                hint = f"; perhaps `{near[0]}` is meant" if near else f"; the fields are {', '.join(self.fields)}"
                raise marshmallow.ValidationError({str(key)[:100]: [f"is unknown here{hint}."]})
        return data


class Between(marshmallow.validate.Range):
    def __init__(self, low: float, high: float):
        super().__init__(min=low, max=high)

    def _format_error(self, value: Any, _: str) -> str:
        is_open = self.max == MAX_INTEGER and value < self.min
        return f"must be at least {self.min}." if is_open else f"must be between {self.min} and {self.max}."


def is_deeper(value: Any, depth: int) -> bool:
    """Return whether objects and lists are nested deeper."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(is_deeper(each, depth - 1) for each in inner)


def one_of(*choices: str) -> marshmallow.validate.OneOf:
    return marshmallow.validate.OneOf(choices, error=f"must be one of: {', '.join(choices)}.")


def not_empty(message: str = "must not be empty.", most: int | None = None) -> marshmallow.validate.Length:
    if most is not None:
        message = f"must have between 1 and {most} entries."
    return marshmallow.validate.Length(min=1, max=most, error=message)
