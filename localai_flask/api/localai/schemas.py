"""The bodies of LocalAI's requests, and the calls they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request.fields import (
    Duration,
    Either,
    Flag,
    RequestSchema,
    StrictSchema,
    Text,
    not_empty,
)

MAX_TOKENS = 1 << 20
MAX_TOKEN_ID = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCall:
    model: str
    keep_alive_s: float | None


class LoadRequest(StrictSchema):
    model = Text(required=True, validate=not_empty())
    keep_alive = Duration()

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> LoadCall:
        return LoadCall(model=data["model"], keep_alive_s=data.get("keep_alive"))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadCall:
    """By `force` what the model runs is ended at once."""

    model: str
    force: bool


class UnloadRequest(StrictSchema):
    model = Text(required=True, validate=not_empty())
    force = Flag(load_default=False)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> UnloadCall:
        return UnloadCall(model=data["model"], force=data["force"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeCall:
    """`whole` puts the special tokens around the text that the model wants."""

    model: str | None
    content: str
    whole: bool
    special: bool
    pieces: bool


class TokenizeRequest(RequestSchema):
    model = Text()
    content = Text(required=True)
    add_special = Flag(load_default=False)
    parse_special = Flag(load_default=True)
    with_pieces = Flag(load_default=False)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> TokenizeCall:
        return TokenizeCall(
            model=data.get("model") or None,
            content=data["content"],
            whole=data["add_special"],
            special=data["parse_special"],
            pieces=data["with_pieces"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DetokenizeCall:
    model: str | None
    tokens: tuple[int, ...]


class Tokens(Either):
    """A list of token ids."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[int]:
        if not isinstance(value, list):
            raise ValidationError("must be a list of token ids.")
        if len(value) > MAX_TOKENS:
            raise ValidationError(f"may have at most {MAX_TOKENS} entries.")
        for index, token in enumerate(value):
            if type(token) is not int or not 0 <= token <= MAX_TOKEN_ID:
                raise ValidationError({index: ["must be a token id."]})
        return value


class DetokenizeRequest(RequestSchema):
    model = Text()
    tokens = Tokens(required=True, metadata={"type": "array", "items": {"type": "integer", "minimum": 0}})

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> DetokenizeCall:
        return DetokenizeCall(model=data.get("model") or None, tokens=tuple(data["tokens"]))
