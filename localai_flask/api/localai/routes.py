"""The endpoints about tokens, as llama-server and LocalAI have them: each parses, asks and renders."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from flask import Response

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_place
from localai_flask.api.localai.schemas import (
    DetokenizeCall,
    DetokenizeRequest,
    TokenizeCall,
    TokenizeRequest,
)
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.work.questions import ask
from localai_flask.generation import Prompt
from localai_flask.inquiry import Detokenize, Detokenized, Tokenize, Tokenized

bp = Blueprint("localai", __name__, description="Tokens of texts")


class Piece(msgspec.Struct):
    """A token and what it stands for: text, or bytes where these are no whole characters."""

    id: int
    piece: str | list[int]


class TokenList(msgspec.Struct):
    """The tokens; with `with_pieces`, each with its piece."""

    tokens: Sequence[int | Piece]


class Content(msgspec.Struct):
    content: str


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


def _text(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
