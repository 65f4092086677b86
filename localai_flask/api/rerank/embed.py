"""Cohere's way to ask for vectors: the same texts and models as in OpenAI's, and more forms of numbers."""

from __future__ import annotations

import base64
import uuid
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import marshmallow
import msgspec
from flask import Response
from marshmallow import ValidationError

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_place
from localai_flask.api.pages import openapi
from localai_flask.api.request.controls.sampling_fields import NOT_BY_NUMBER
from localai_flask.api.request.fields import Many, Noted, Refused, Text, Whole, not_empty, one_of
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint, Unsupported
from localai_flask.api.request.waiting import Waiting, WaitingFields, waiting_of
from localai_flask.api.rerank.errors import DOCUMENTED
from localai_flask.api.rerank.routes import Meta, TokenCounts
from localai_flask.api.rerank.schemas import DOCUMENT, MAX_DOCUMENTS, Document
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.questions import ask, texts_named
from localai_flask.api.work.vectors import as_bytes, rows_of
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Prompt
from localai_flask.inquiry import ALL_IT_TAKES, Embed, Embedded

bp = Blueprint("cohere-embed", __name__, description="Vectors of texts, in Cohere's shape")

FORMS = ("float", "base64", "binary", "ubinary")
OTHER_FORMS = ("int8", "uint8")
SIGN_OFFSET = 128
"""By which signed bytes are lower than unsigned ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CohereEmbedCall:
    model: str | None
    texts: tuple[str, ...]
    forms: tuple[str, ...]
    dimensions: int | None
    cut_to: int | None
    """As in `Embed`."""
    waiting: Waiting


class FormField(Text):
    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if value in OTHER_FORMS:
            raise ValidationError(
                [Unsupported(f"is {value}, whose range is that of Cohere's own models; take binary.")]
            )
        return str(super()._deserialize(value, *args, **kwargs))


class CohereEmbedRequest(WaitingFields):
    model = Text()
    texts = Many(Text(validate=not_empty()), validate=not_empty(most=MAX_DOCUMENTS))
    inputs = Many(Document(metadata=DOCUMENT), validate=not_empty(most=MAX_DOCUMENTS))
    embedding_types = Many(FormField(validate=one_of(*FORMS)), load_default=lambda: ["float"], validate=not_empty())
    output_dimension = Whole(1)
    truncate = Text(load_default="END", validate=one_of("NONE", "START", "END"))
    max_tokens = Whole(1, metadata={"description": "To how many tokens a longer text is cut."})
    input_type = Noted("tells queries from documents, which models here are told by the texts themselves.")
    images = Refused("is not possible here; no model here makes vectors of images.", ([],))
    lora = Refused(NOT_BY_NUMBER)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> CohereEmbedCall:
        texts = [*data.get("texts", ()), *data.get("inputs", ())]
        if not texts:
            raise ValidationError({"texts": ["is required."]})
        if data["truncate"] == "START":
            raise ValidationError({"truncate": [Unsupported("is START, but texts are cut at their END here.")]})
        cut_to = data.get("max_tokens", ALL_IT_TAKES)
        return CohereEmbedCall(
            model=data.get("model") or None,
            texts=tuple(texts),
            forms=tuple(dict.fromkeys(data["embedding_types"])),
            dimensions=data.get("output_dimension"),
            cut_to=None if data["truncate"] == "NONE" else cut_to,
            waiting=waiting_of(data),
        )


class CohereVectors(msgspec.Struct):
    """The vectors in each form that was asked for; in the binary ones a number is the signs of eight."""

    id: str
    embeddings: dict[str, list[Sequence[float] | str]]
    texts: list[str]
    meta: Meta


@bp.post("/embed")
@bp.arguments(CohereEmbedRequest)
@bp.response(200, openapi.schema(CohereVectors), description="The vectors, in the order of the texts.")
@bp.doc(operationId="embedV2", responses=DOCUMENTED)
@takes_place
@falls_back
def embed_v2(call: CohereEmbedCall) -> Response:
    """Turn texts into vectors, in Cohere's shape"""
    name, config = chosen_model("embeddings", call.model)
    with texts_named("texts"):
        found = ask(config, [Embed(Prompt(text), call.cut_to) for text in call.texts], Embedded, call.waiting)
    rows = [rows_of(each, call.dimensions, "output_dimension") for each in found]
    if any(len(each) != 1 for each in rows):
        raise InvalidRequest(
            f"The model {name!r} makes a vector of each token, for which this API has no place; ask /v1/embeddings, or "
            "set the option pooling_type in the model's YAML.",
            param="model",
        )
    vectors = {form: [in_form(each[0], form) for each in rows] for form in call.forms}
    tokens = TokenCounts(sum(each.tokens for each in found))
    return json_response(CohereVectors(str(uuid.uuid4()), vectors, list(call.texts), Meta(tokens)))


def in_form(row: array[float], form: str) -> Sequence[float] | str:
    """Return a vector as numbers, as base64 of little-endian floats, or as its numbers' signs, the first highest."""
    if form == "float":
        return row.tolist()
    if form == "base64":
        return base64.b64encode(as_bytes([row[:]])).decode()
    packed = [
        sum((number > 0) << (7 - place) for place, number in enumerate(row[begin : begin + 8]))
        for begin in range(0, len(row), 8)
    ]
    return packed if form == "ubinary" else [each - SIGN_OFFSET for each in packed]
