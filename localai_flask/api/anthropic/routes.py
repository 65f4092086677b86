"""Anthropic's endpoints: each parses, submits and renders."""

from __future__ import annotations

import msgspec
from flask import Response

from localai_flask.api import current
from localai_flask.api.answer import sse
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.answer.rendered import Rendered, rendered
from localai_flask.api.anthropic import render, shapes
from localai_flask.api.anthropic.errors import DOCUMENTED
from localai_flask.api.anthropic.schemas import CountRequest, MessagesCall, MessagesRequest
from localai_flask.api.anthropic.stream import MessageEvents
from localai_flask.api.conversation.tool_choice import with_left_out
from localai_flask.api.door.places import takes_place
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.work.chat_plan import chat_plan, count_prompt_tokens, tokenized_prompt
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.work import Work
from localai_flask.config.sampling import sampling

bp = Blueprint("anthropic", __name__, description="Anthropic's Messages API")
CALLED = {"stop": "stop_sequences"}


@bp.post("/messages")
@bp.arguments(MessagesRequest)
@bp.response(200, description="The message; with `stream`, as server-sent events.")
@bp.doc(operationId="createMessage", responses={**openapi.streamed(shapes.Message), **DOCUMENTED})
@takes_place
@falls_back
def create_message(call: MessagesCall) -> Response:
    """Answer a conversation"""
    name, config = chosen_model("chat", call.model)
    params = msgspec.structs.replace(sampling.merge(config, call.asked, CALLED), keep_s=call.keep_s)
    work = Work(config, chat_plan(call.conversation, call.wanted, config, params), waiting=call.waiting)
    id, stops = render.new_message_id(), call.asked.get("stop", ())
    current.record().answer_id = id
    manner = {
        "shows_thinking": call.shows_thinking,
        "hides_thoughts": call.hides_thoughts,
        "has_answer": not params.prompt_only,
    }
    if call.stream:
        events = MessageEvents(id, name, stops, request_id=current.record().id, keep_s=call.keep_s, **manner)
        return with_left_out(sse.respond(work, events), call.left_out)
    (answer,) = work.answers()
    body = render.message(id, name, answer, stops, keep_s=call.keep_s, **manner)
    return with_left_out(Response(body, mimetype="application/json"), call.left_out)


@bp.post("/messages/render")
@bp.arguments(CountRequest)
@bp.response(200, openapi.schema(Rendered), description="The prompt.")
@bp.doc(operationId="renderMessage", responses=DOCUMENTED)
@takes_place
def render_message(call: MessagesCall) -> Response:
    """Return the prompt of a message as text and tokens, without an answer"""
    name, config = chosen_model("chat", call.model)
    return json_response(rendered(name, *tokenized_prompt(call.conversation, call.wanted, config)))


@bp.post("/messages/count_tokens")
@bp.arguments(CountRequest)
@bp.response(200, openapi.schema(shapes.TokenCount), description="The count.")
@bp.doc(operationId="countMessageTokens", responses=DOCUMENTED)
@takes_place
def count_tokens(call: MessagesCall) -> Response:
    """Count the tokens of a message's prompt"""
    _, config = chosen_model("chat", call.model)
    count = shapes.TokenCount(count_prompt_tokens(call.conversation, call.wanted, config))
    return Response(render.encode(count), mimetype="application/json")
