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
    Many,
    Refused,
    RequestSchema,
    Text,
    Whole,
    not_empty,
)
from localai_flask.api.request.waiting import Waiting, WaitingFields, waiting_of

MAX_DOCUMENTS = 2048
MAX_TOKENS = 1 << 20
MAX_TOKEN_ID = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCall:
    model: str
    keep_alive_s: float | None


class LoadRequest(RequestSchema):
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


class UnloadRequest(RequestSchema):
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


class Document(Either):
    """A text, or an object with a `text`."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        text = value.get("text") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise ValidationError("must be a string or an object with a `text`.")
        return text


DOCUMENT = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    ]
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankCall:
    model: str | None
    query: str
    documents: tuple[str, ...]
    top_n: int | None
    with_documents: bool
    waiting: Waiting


class RerankRequest(WaitingFields):
    model = Text()
    query = Text(required=True, validate=not_empty())
    documents = Many(Document(metadata=DOCUMENT), required=True, validate=not_empty(most=MAX_DOCUMENTS))
    top_n = Whole(1)
    return_documents = Flag(load_default=True)
    backend = Refused("cannot be chosen by a request; set it in the model's YAML.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> RerankCall:
        return RerankCall(
            model=data.get("model") or None,
            query=data["query"],
            documents=tuple(data["documents"]),
            top_n=data.get("top_n"),
            with_documents=data["return_documents"],
            waiting=waiting_of(data),
        )
