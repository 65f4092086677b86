"""OpenAI's embeddings: texts or token ids to vectors."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import marshmallow
import msgspec
from flask import Response
from marshmallow import ValidationError

from localai_flask.api.door.places import takes_place
from localai_flask.api.openai.schemas import PromptField
from localai_flask.api.pages import openapi
from localai_flask.api.request.controls.sampling import OF_SENDER
from localai_flask.api.request.controls.sampling_fields import NOT_BY_NUMBER
from localai_flask.api.request.fields import Fixed, Flag, Noted, Refused, Text, Whole, one_of
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.waiting import Waiting, WaitingFields, waiting_of
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.questions import ask
from localai_flask.api.work.vectors import as_bytes, rows_of
from localai_flask.generation import Prompt
from localai_flask.inquiry import ALL_IT_TAKES, Embed, Embedded

bp = Blueprint("embeddings", __name__, description="Vectors of texts")

MAX_INPUTS = 2048
NORM_IN_YAML = "cannot be chosen by a request; set the option embd_normalize in the model's YAML."
INPUT_KINDS = [
    {"type": "string", "minLength": 1},
    {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MAX_INPUTS},
    {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
    {
        "type": "array",
        "items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
        "minItems": 1,
        "maxItems": MAX_INPUTS,
    },
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingCall:
    model: str | None
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None
    as_base64: bool
    cut_to: int | None
    """As in `Embed`."""
    waiting: Waiting


class InputField(PromptField):
    """Text, token ids, or a list of up to 2048 of either; nothing empty."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> tuple[str | tuple[int, ...], ...]:
        inputs = super()._deserialize(value, *args, **kwargs)
        if len(inputs) > MAX_INPUTS:
            raise ValidationError(f"may have at most {MAX_INPUTS} entries.")
        if "" in inputs:
            raise ValidationError("must not be empty." if value == "" else {inputs.index(""): ["must not be empty."]})
        return inputs


class EmbeddingRequest(WaitingFields):
    model = Text()
    input = InputField(required=True, metadata={"anyOf": INPUT_KINDS})
    encoding_format = Text(load_default="float", validate=one_of("float", "base64"))
    dimensions = Whole(1)
    truncate = Flag(load_default=False, metadata={"description": "Cut a text that is too long, not refuse it."})
    truncate_prompt_tokens = Whole(
        ALL_IT_TAKES,
        metadata={"description": "Cut a text to this number of tokens; -1: to as many as the model takes."},
    )
    user = Noted(OF_SENDER)
    messages = Refused("is not possible here; send the text as `input`.")
    pooling = Refused("cannot be chosen by a request; set the option pooling_type in the model's YAML.", ("backend",))
    backend = Refused("cannot be chosen by a request; set it in the model's YAML.")
    embd_normalize = Fixed(NORM_IN_YAML, (2,))
    normalize = Fixed(NORM_IN_YAML, (True,))
    lora = Refused(NOT_BY_NUMBER)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> EmbeddingCall:
        if data.get("truncate_prompt_tokens") == 0:
            raise ValidationError({"truncate_prompt_tokens": ["must be -1 or at least 1."]})
        return EmbeddingCall(
            model=data.get("model") or None,
            inputs=data["input"],
            dimensions=data.get("dimensions"),
            as_base64=data["encoding_format"] == "base64",
            cut_to=data.get("truncate_prompt_tokens", ALL_IT_TAKES if data["truncate"] else None),
            waiting=waiting_of(data),
        )


class Embedding(msgspec.Struct):
    """A vector as numbers, or as base64 of little-endian 32-bit floats.

    A model that pools nothing has a list of vectors, one for each token, one after the other in base64.
    """

    index: int
    embedding: Sequence[float | list[float]] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct):
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


@bp.post("/embeddings")
@bp.alias("/engines/<path:model>/embeddings", methods=["POST"])
@bp.arguments(EmbeddingRequest)
@bp.response(200, openapi.schema(EmbeddingList), description="The vectors, in the order of the inputs.")
@bp.doc(operationId="createEmbedding")
@takes_place
@falls_back
def create_embedding(call: EmbeddingCall, model: str | None = None) -> Response:
    """Turn texts into vectors"""
    name, config = chosen_model("embeddings", call.model, model)
    found = ask(config, [Embed(_prompt(text), call.cut_to) for text in call.inputs], Embedded, call.waiting)
    tokens = sum(one.tokens for one in found)
    data = [Embedding(index, _render(one, call)) for index, one in enumerate(found)]
    return Response(
        msgspec.json.encode(EmbeddingList(name, data, EmbeddingUsage(tokens, tokens))), mimetype="application/json"
    )


def _prompt(text: str | tuple[int, ...]) -> Prompt:
    return Prompt(text) if isinstance(text, str) else Prompt(tokens=list(text))


def _render(found: Embedded, call: EmbeddingCall) -> Sequence[float | list[float]] | str:
    if call.as_base64 and call.dimensions is None:
        return base64.b64encode(found.data).decode()
    rows = rows_of(found, call.dimensions)
    if call.as_base64:
        return base64.b64encode(as_bytes(rows)).decode()
    return rows[0].tolist() if len(rows) == 1 else [row.tolist() for row in rows]
