"""LocalAI's endpoints about tokens, and Jina's about documents: each parses, asks and renders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from flask import Response

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_place
from localai_flask.api.localai.schemas import (
    DetokenizeCall,
    DetokenizeRequest,
    RerankCall,
    RerankRequest,
    TokenizeCall,
    TokenizeRequest,
)
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.work.questions import ask
from localai_flask.generation import Prompt
from localai_flask.inquiry import Detokenize, Detokenized, Score, Scored, Tokenize, Tokenized

bp = Blueprint("localai", __name__, description="Tokens of texts, and documents in the order of a query")


class Piece(msgspec.Struct):
    """A token and what it stands for: text, or bytes where these are no whole characters."""

    id: int
    piece: str | list[int]


class TokenList(msgspec.Struct):
    """The tokens; with `with_pieces`, each with its piece."""

    tokens: Sequence[int | Piece]


class Content(msgspec.Struct):
    content: str


class RerankedDocument(msgspec.Struct):
    text: str


class Reranked(msgspec.Struct):
    """A document's place in the request, and its score as the model gives it: the higher, the better it fits."""

    index: int
    relevance_score: float
    document: RerankedDocument | msgspec.UnsetType = msgspec.UNSET


class RerankUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class RerankList(msgspec.Struct):
    model: str
    results: list[Reranked]
    usage: RerankUsage
    object: Literal["list"] = "list"


@bp.post("/tokenize")
@bp.arguments(TokenizeRequest)
@bp.response(200, openapi.schema(TokenList), description="The text's tokens.")
@bp.doc(operationId="tokenize")
@takes_place
def tokenize(call: TokenizeCall) -> Response:
    """Turn a text into a model's tokens"""
    _, config = chosen_model("tokenize", call.model)
    prompt = Prompt(call.content, special=call.special, add_bos=call.whole)
    [found] = ask(config, [Tokenize(prompt, call.pieces)], Tokenized)
    if not call.pieces:
        return json_response(TokenList(found.tokens))
    return json_response(TokenList([Piece(*pair) for pair in zip(found.tokens, map(_text, found.pieces), strict=True)]))


@bp.post("/detokenize")
@bp.arguments(DetokenizeRequest)
@bp.response(200, openapi.schema(Content), description="The tokens' text.")
@bp.doc(operationId="detokenize")
@takes_place
def detokenize(call: DetokenizeCall) -> Response:
    """Turn a model's tokens into text"""
    _, config = chosen_model("tokenize", call.model)
    [found] = ask(config, [Detokenize(list(call.tokens))], Detokenized)
    return json_response(Content(found.text))


@bp.post("/rerank")
@bp.alias("/reranking", methods=["POST"])
@bp.arguments(RerankRequest)
@bp.response(200, openapi.schema(RerankList), description="The documents, the best first.")
@bp.doc(operationId="rerank")
@takes_place
def rerank(call: RerankCall) -> Response:
    """Order documents by how well they answer a query"""
    name, config = chosen_model("rerank", call.model)
    found = ask(config, [Score(call.query, document) for document in call.documents], Scored, call.waiting)
    best = sorted(range(len(found)), key=lambda index: -found[index].score)[: call.top_n]
    results = [
        Reranked(
            index,
            found[index].score,
            RerankedDocument(call.documents[index]) if call.with_documents else msgspec.UNSET,
        )
        for index in best
    ]
    tokens = sum(one.tokens for one in found)
    return json_response(RerankList(name, results, RerankUsage(tokens, tokens)))


def _text(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
