"""How alike two texts are, as vLLM has it: by a model that scores pairs, else by the angle between their vectors."""

from __future__ import annotations

import math
import operator
import time
import uuid
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import marshmallow
import msgspec
from flask import Response
from marshmallow import ValidationError

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_place
from localai_flask.api.pages import openapi
from localai_flask.api.request.controls.sampling_fields import NOT_BY_NUMBER
from localai_flask.api.request.fields import Either, Flag, Many, Refused, Text, Whole
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.waiting import Waiting, WaitingFields, waiting_of
from localai_flask.api.rerank.routes import RerankUsage
from localai_flask.api.rerank.schemas import DOCUMENT, MAX_DOCUMENTS, Document
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.questions import ask, texts_named
from localai_flask.api.work.vectors import rows_of
from localai_flask.errors import InvalidRequest
from localai_flask.generation import ModelInfo, Prompt
from localai_flask.inquiry import ALL_IT_TAKES, Embed, Embedded, Fact, Question, Score, Scored

bp = Blueprint("score", __name__, description="How alike pairs of texts are")

TEXTS = {"anyOf": [DOCUMENT, {"type": "array", "items": DOCUMENT, "minItems": 1, "maxItems": MAX_DOCUMENTS}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCall:
    model: str | None
    pairs: tuple[tuple[str, str], ...]
    cut_to: int | None
    """As in `Score`."""
    waiting: Waiting


class Texts(Either):
    """A text or a list of texts."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:
        if not isinstance(value, list):
            return [str(Document().deserialize(value))]
        if not 1 <= len(value) <= MAX_DOCUMENTS:
            raise ValidationError(f"must have between 1 and {MAX_DOCUMENTS} entries.")
        return [str(each) for each in Many(Document()).deserialize(value) or ()]


class ScoreRequest(WaitingFields):
    model = Text()
    text_1 = Texts(metadata=TEXTS)
    text_2 = Texts(metadata=TEXTS)
    queries = Texts(metadata=TEXTS)
    documents = Texts(metadata=TEXTS)
    truncate = Flag(load_default=False, metadata={"description": "Cut what is too long, not refuse it."})
    truncate_prompt_tokens = Whole(ALL_IT_TAKES)
    lora = Refused(NOT_BY_NUMBER)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> ScoreCall:
        names = ("queries", "documents") if "queries" in data or "documents" in data else ("text_1", "text_2")
        for name in names:
            if name not in data:
                raise ValidationError({name: ["is required."]})
        if data.get("truncate_prompt_tokens") == 0:
            raise ValidationError({"truncate_prompt_tokens": ["must be -1 or at least 1."]})
        first, second = data[names[0]], data[names[1]]
        if len(first) == 1:
            first = first * len(second)
        if len(first) != len(second):
            raise ValidationError({names[1]: [f"must have as many entries as `{names[0]}`, or that only one."]})
        return ScoreCall(
            model=data.get("model") or None,
            pairs=tuple(zip(first, second, strict=True)),
            cut_to=data.get("truncate_prompt_tokens", ALL_IT_TAKES if data["truncate"] else None),
            waiting=waiting_of(data),
        )


class PairScore(msgspec.Struct):
    index: int
    score: float
    object: Literal["score"] = "score"


class ScoreList(msgspec.Struct):
    id: str
    created: int
    model: str
    data: list[PairScore]
    usage: RerankUsage
    object: Literal["list"] = "list"


@bp.post("/score")
@bp.arguments(ScoreRequest)
@bp.response(200, openapi.schema(ScoreList), description="The scores, in the order of the pairs.")
@bp.doc(operationId="createScore")
@takes_place
@falls_back
def create_score(call: ScoreCall) -> Response:
    """Score how alike two texts are, or one and each of many others"""
    name, config = chosen_model("rerank", call.model)
    texts = list(dict.fromkeys(text for pair in call.pairs for text in pair))

    def plan(info: ModelInfo) -> Sequence[Question]:
        if "embed" in info.capabilities and "score" not in info.capabilities:
            return [Embed(Prompt(text), call.cut_to) for text in texts]
        return [Score(query, document, call.cut_to) for query, document in call.pairs]

    with texts_named(None):  # it may be either of a pair
        found = ask(config, plan, cast("type[Fact]", Scored | Embedded), call.waiting)
    scores = [each.score for each in found if isinstance(each, Scored)]
    vectors = dict(zip(texts, (each for each in found if isinstance(each, Embedded)), strict=False))
    if vectors:
        scores = [_likeness(_only_row(vectors[one]), _only_row(vectors[other])) for one, other in call.pairs]
    tokens = sum(each.tokens for each in found if isinstance(each, Scored | Embedded))
    data = [PairScore(*entry) for entry in enumerate(scores)]
    made = ScoreList(f"score-{uuid.uuid4().hex}", int(time.time()), name, data, RerankUsage(tokens, tokens))
    return json_response(made)


def _only_row(found: Embedded) -> array[float]:
    rows = rows_of(found)
    if len(rows) != 1:
        raise InvalidRequest(
            "The model makes a vector of each token; set the option pooling_type in its YAML, or choose another.",
            param="model",
        )
    return rows[0]


def _likeness(one: array[float], other: array[float]) -> float:
    """Return the cosine of the angle between two vectors; 0 if one has no direction."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(map(operator.mul, one, other)) / lengths if lengths else 0.0
