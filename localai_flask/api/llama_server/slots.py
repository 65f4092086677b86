"""How many requests a model runs at once, and how many it does now, in the shape of llama-server's slots."""

from __future__ import annotations

import msgspec
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer import model_traits
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door import auth
from localai_flask.api.pages import openapi
from localai_flask.api.pages.requests import ask
from localai_flask.api.request.parsing import Blueprint
from localai_flask.metrics.in_flight import Question

bp = Blueprint("slots", __name__, description="How busy a model is, as llama-server has it")

RUNNING = frozenset({"prefill", "decode"})
NAMED = openapi.query_parameter("model", "The model's name; without one, that of requests which name none.")


class Slot(msgspec.Struct):
    """The place of one request; which one is busy says nothing but how many are."""

    id: int
    n_ctx: int
    is_processing: bool
    speculative: bool = False


@bp.get("/slots")
@bp.response(200, openapi.schema_of_list(Slot), description="Those of its workers; none if it is not loaded.")
@bp.doc(operationId="listSlots", parameters=[NAMED])
def list_slots() -> Response:
    """List a model's places for requests"""
    config = current.registry().resolve(request.args.get("model"), "chat", auth.key().model_filter)
    count = current.pool().room(config.engine.name, 0) or 0
    told, _ = ask(Question())
    models = current.registry().models().values()
    sharing = {config.name, *(each.name for each in models if each.engine.name == config.engine.name)}
    busy = sum(each.model in sharing and each.state in RUNNING for each in told.requests)
    context = model_traits.context_length(config) or 0
    return json_response([Slot(number, context, number < busy) for number in range(count)])
