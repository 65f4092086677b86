"""Ollama's two ways to ask for vectors; texts that are too long are cut, unless the request says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import marshmallow
from flask import Response
from marshmallow import ValidationError

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_place
from localai_flask.api.ollama import shapes
from localai_flask.api.ollama.errors import DOCUMENTED
from localai_flask.api.ollama.render import durations
from localai_flask.api.pages import openapi
from localai_flask.api.request.controls.sampling_fields import NOT_BY_NUMBER, TEXT_OR_TEXTS
from localai_flask.api.request.fields import Either, Flag, Noted, Refused, Text, Whole
from localai_flask.api.request.model_choice import Chosen, chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.waiting import Waiting, WaitingFields, waiting_of
from localai_flask.api.work import loading
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.questions import ask
from localai_flask.api.work.vectors import rows_of
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Prompt
from localai_flask.inquiry import ALL_IT_TAKES, Embed, Embedded

bp = Blueprint("ollama-embeddings", __name__, description="Vectors of texts, as Ollama has them")

MOST_INPUTS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedCall:
    """Texts; without any the model is loaded, or leaves."""

    model: str | None
    texts: tuple[str, ...]
    cut_to: int | None
    """As in `Embed`."""
    dimensions: int | None = None
    waiting: Waiting


class InputField(Either):
    """A text or a list of texts; an empty text alone is none."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValidationError("must be a string or a list of strings.")
        if len(texts) > MOST_INPUTS:
            raise ValidationError(f"may have at most {MOST_INPUTS} entries.")
        if "" in texts and len(texts) > 1:
            raise ValidationError({texts.index(""): ["must not be empty."]})
        return tuple(text for text in texts if text)


class VectorRequest(WaitingFields):
    model = Text()
    options = Noted("is about answers, and there are none.")
    truncate = Flag(load_default=True, metadata={"description": "false: a text that is too long is refused."})
    lora = Refused(NOT_BY_NUMBER)


class EmbedRequest(VectorRequest):
    input = InputField(load_default=(), metadata=TEXT_OR_TEXTS)
    dimensions = Whole(1)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> EmbedCall:
        return EmbedCall(texts=data["input"], dimensions=data.get("dimensions"), **_shared(data))


class EmbeddingsRequest(VectorRequest):
    prompt = Text(load_default="")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> EmbedCall:
        return EmbedCall(texts=(data["prompt"],) if data["prompt"] else (), **_shared(data))


@bp.post("/api/embed")
@bp.arguments(EmbedRequest)
@bp.response(200, openapi.schema(shapes.Embeddings), description="The vectors, in the order of the texts.")
@bp.doc(operationId="ollamaEmbed", responses=DOCUMENTED)
@takes_place
@falls_back
def embed(call: EmbedCall) -> Response:
    """Turn texts into vectors, as Ollama does"""
    chosen = chosen_model("embeddings", call.model)
    vectors, tokens = _vectors(chosen, call)
    total, load = durations(current.record())
    return json_response(shapes.Embeddings(chosen.name, vectors, total, load, tokens))


@bp.post("/api/embeddings")
@bp.arguments(EmbeddingsRequest)
@bp.response(200, openapi.schema(shapes.OneEmbedding), description="The vector.")
@bp.doc(operationId="ollamaEmbeddings", responses=DOCUMENTED)
@takes_place
@falls_back
def embeddings(call: EmbedCall) -> Response:
    """Turn a text into a vector, in the older shape of Ollama's API"""
    vectors, _ = _vectors(chosen_model("embeddings", call.model), call)
    return json_response(shapes.OneEmbedding(vectors[0] if vectors else []))


def _shared(data: dict[str, Any]) -> dict[str, Any]:
    cut_to = ALL_IT_TAKES if data["truncate"] else None
    return {"model": data.get("model") or None, "cut_to": cut_to, "waiting": waiting_of(data)}


def _vectors(chosen: Chosen, call: EmbedCall) -> tuple[list[list[float]], int]:
    """Return the vectors of a call's texts, and how many tokens they have."""
    if not call.texts:
        if call.waiting.keep_alive_s == 0:
            loading.leave(chosen.config)
        else:
            loading.load(chosen.config, call.waiting)
        return [], 0
    questions = [Embed(Prompt(text), call.cut_to) for text in call.texts]
    found: Sequence[Embedded] = ask(chosen.config, questions, Embedded, call.waiting)
    rows = [rows_of(each, call.dimensions) for each in found]
    if any(len(each) != 1 for each in rows):
        raise InvalidRequest(
            f"The model {chosen.name!r} makes a vector of each token, for which this API has no place; ask "
            "/v1/embeddings, or set the option pooling_type in the model's YAML.",
            param="model",
        )
    return [each[0].tolist() for each in rows], sum(each.tokens for each in found)
