"""The endpoints that rank documents: each parses, asks and renders."""

from __future__ import annotations

import uuid
from typing import Literal

import msgspec
from flask import Response

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_place
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.rerank.errors import DOCUMENTED
from localai_flask.api.rerank.schemas import RerankCall, RerankRequest
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.questions import ask
from localai_flask.inquiry import Score, Scored

jina = Blueprint("rerank", __name__, description="Documents in the order of a query")
cohere = Blueprint("cohere", __name__, description="Documents in the order of a query, in Cohere's shape")


class RankedDocument(msgspec.Struct):
    text: str


class Ranked(msgspec.Struct):
    """A document's place in the request, and its score as the model gives it: the higher, the better it fits."""

    index: int
    relevance_score: float
    document: RankedDocument | msgspec.UnsetType = msgspec.UNSET


class RerankUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class RerankList(msgspec.Struct):
    model: str
    results: list[Ranked]
    usage: RerankUsage
    object: Literal["list"] = "list"


class ApiVersion(msgspec.Struct, frozen=True):
    version: Literal["2"] = "2"


class TokenCounts(msgspec.Struct):
    input_tokens: int
    output_tokens: int = 0


class Meta(msgspec.Struct):
    tokens: TokenCounts
    api_version: ApiVersion = ApiVersion()


class CohereRerankList(msgspec.Struct):
    id: str
    results: list[Ranked]
    meta: Meta


@jina.post("/rerank")
@jina.alias("/reranking", methods=["POST"])
@jina.arguments(RerankRequest)
@jina.response(200, openapi.schema(RerankList), description="The documents, the best first.")
@jina.doc(operationId="rerank")
@takes_place
@falls_back
def rerank(call: RerankCall) -> Response:
    """Order documents by how well they answer a query"""
    name, ranked, tokens = _rank(call, with_documents=True)
    return json_response(RerankList(name, ranked, RerankUsage(tokens, tokens)))


@cohere.post("/rerank")
@cohere.arguments(RerankRequest)
@cohere.response(200, openapi.schema(CohereRerankList), description="The documents, the best first.")
@cohere.doc(operationId="rerankV2", responses=DOCUMENTED)
@takes_place
@falls_back
def rerank_v2(call: RerankCall) -> Response:
    """Order documents by how well they answer a query, in Cohere's shape"""
    _, ranked, tokens = _rank(call, with_documents=False)
    return json_response(CohereRerankList(str(uuid.uuid4()), ranked, Meta(TokenCounts(tokens))))


def _rank(call: RerankCall, *, with_documents: bool) -> tuple[str, list[Ranked], int]:
    """Return the model's name, the documents from the best on, and how many tokens were read.

    They come with their texts if the call says so; where it says nothing, `with_documents` does.
    """
    name, config = chosen_model("rerank", call.model)
    questions = [Score(call.query, document, call.cut_to) for document in call.documents]
    found = ask(config, questions, Scored, call.waiting)
    if call.with_documents is not None:
        with_documents = call.with_documents
    best = sorted(range(len(found)), key=lambda index: -found[index].score)[: call.top_n]
    texts = {index: RankedDocument(call.documents[index]) for index in best if with_documents}
    ranked = [Ranked(index, found[index].score, texts.get(index, msgspec.UNSET)) for index in best]
    return name, ranked, sum(one.tokens for one in found)
