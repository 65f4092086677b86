"""From a body as a client of another server sends it to one in our own words, before its schema reads it.

Errors name the field that the client has sent. What is sent under two names has to be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request.fields import RequestSchema, Whole
from localai_flask.api.request.foreign.fates import ASKS_NOTHING, Hint, Refusal, is_harmless
from localai_flask.api.request.foreign.table import CONTAINERS, TABLE
from localai_flask.api.request.parsing import Unsupported

Known = Mapping[str, marshmallow.fields.Field[Any]]
NOT_HERE = "stands for `{field}`, which is not possible here; leave it out."
JOINED = frozenset({"logit_bias", "chat_template_kwargs", "stream_options", "stop", "banned_strings"})
"""Objects and lists that may come in parts."""
ALWAYS = frozenset({"stream_options"})
"""What a family without such a field does anyway."""


class ForeignFields(RequestSchema):
    """A request that also takes the fields of other servers, by the table.

    One that is not strict asks less than those whose fields it may have, such as what the prompt's length is.
    """

    is_strict: ClassVar[bool] = True

    @marshmallow.pre_load
    def drop_nulls(self, data: Any, **options: Any) -> Any:
        data = super().drop_nulls(data, **options)
        return translated(data, self.fields, self.is_strict) if isinstance(data, dict) else data


def translated(body: Mapping[str, Any], known: Known, is_strict: bool = True) -> dict[str, Any]:
    """Return a body in which what other servers have names for stands under those of the `known` fields.

    Raises `ValidationError` for what cannot be honoured, if that is to be strict.
    """
    own = {name: value for name, value in body.items() if name in known}
    origins: dict[str, str] = {}
    for path, name, value in _foreign(body, known):
        if not is_strict and isinstance(TABLE.get(name), Refusal | Hint):
            continue
        for field, meant in _meaning(path, name, value, known).items():
            if field not in known:
                if not is_strict or field in ALWAYS or meant in ASKS_NOTHING:
                    continue
                raise _error(path, Unsupported(NOT_HERE.format(field=field)))
            _check(path, field, meant, known)
            if field in own and own[field] != meant:
                if field not in JOINED or type(own[field]) is not type(meant):
                    other = origins.get(field, field)
                    raise _error(path, f"says something else than `{other}`; send one of them.")
                meant = {**meant, **own[field]} if isinstance(meant, dict) else [*own[field], *meant]
            own[field] = meant
            origins.setdefault(field, path)
    return own


def name_of(field: str, body: Mapping[str, Any], known: Known) -> str:
    """Return what a client calls a field of ours."""
    if field in body:
        return field
    for path, name, value in _foreign(body, known):
        if field in _meaning(path, name, value, known):
            return path
    return field


def _foreign(body: Mapping[str, Any], known: Known) -> Iterator[tuple[str, str, Any]]:
    """Yield the fields that are not the schema's own, with their paths, and those in the objects that hold some."""
    for name, value in body.items():
        if name in CONTAINERS and isinstance(value, dict):
            yield from ((f"{name}.{inner}", inner, each) for inner, each in value.items() if each is not None)
        elif name not in known and value is not None:
            yield name, name, value


def _meaning(path: str, name: str, value: Any, known: Known) -> Mapping[str, Any]:
    if name in known:  # within another object
        return {name: value}
    fate = TABLE.get(name)
    if isinstance(fate, Hint) and fate.within is not None:
        _check(path, name, value, {name: Whole(*fate.within)})
    if fate is None or isinstance(fate, Hint):
        return {}
    if isinstance(fate, Refusal):
        if is_harmless(value, fate):
            return {}
        raise _error(path, Unsupported(fate.reason))
    try:
        return fate.read(value)
    except ValidationError as error:
        raise _error(path, error.messages) from None


def _check(path: str, field: str, value: Any, known: Known) -> None:
    try:
        known[field].deserialize(value)
    except ValidationError as error:
        raise _error(path, error.messages) from None


def _error(path: str, messages: Any) -> ValidationError:
    for part in reversed(path.split(".")):
        messages = {part: messages if isinstance(messages, dict | list) else [messages]}
    return ValidationError(messages)
