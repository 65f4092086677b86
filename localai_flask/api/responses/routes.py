"""The endpoints of Open Responses: each parses, submits and renders."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import flask
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer import listing, sse
from localai_flask.api.answer.errors import error_response
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.answer.rendered import Rendered, rendered
from localai_flask.api.conversation.tool_choice import with_left_out
from localai_flask.api.door import auth
from localai_flask.api.door.places import takes_place, takes_seat
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.query import whole_number
from localai_flask.api.responses import creation, shapes, stored_responses
from localai_flask.api.responses.calls import Context, ResponseCall
from localai_flask.api.responses.input import compacting, input_items
from localai_flask.api.responses.input.items import Item
from localai_flask.api.responses.response_writer import TERMINAL, ResponseWriter, encode
from localai_flask.api.responses.schemas import CompactRequest, InputTokensRequest, ResponseRequest
from localai_flask.api.responses.stream import ResponseEvents, follow
from localai_flask.api.responses.turn import Turn
from localai_flask.api.work.chat_plan import count_prompt_tokens, tokenized_prompt
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.work import Work
from localai_flask.chat.constraints.constraint import Wanted
from localai_flask.config.sampling import sampling
from localai_flask.errors import ErrorInfo, InvalidRequest
from localai_flask.pool.runtime import Runtime

bp = Blueprint("responses", __name__, description="Open Responses")

CANCEL_S = 4.0
"""How long a cancellation waits for whoever runs the response to say that it has stopped."""
LOOK_S = 0.05


@bp.post("/responses")
@bp.arguments(ResponseRequest)
@bp.response(200, description="The response; with `stream`, as server-sent events.")
@bp.doc(operationId="createResponse", responses=openapi.streamed(shapes.Response))
@takes_place
@falls_back
def create_response(call: ResponseCall) -> Response:
    """Answer a conversation"""
    name, config = chosen_model("chat", call.model)
    params = sampling.merge(config, call.asked, creation.CLIENT_NAMES)
    writer = ResponseWriter(creation.new_response(call, name, params), creation.writing_options(call))
    current.record().answer_id = writer.response.id
    with Turn(call, writer.response) as turn:
        items = input_items.with_references_resolved(call.items)
        messages = input_items.messages_of(call, items)
        if call.background:
            response = _queue(call, items, writer)
            turn.leave_to_run()
        else:
            work = creation.begin_work(call, messages, config, params, writer)
            response = _answer(call, work, writer, lambda: turn.keep(items))
            turn.end_with(response)
    return with_left_out(response, call.left_out)


def _answer(call: ResponseCall, work: Work, writer: ResponseWriter, keep: Callable[[], None]) -> Response:
    """Answer while the client waits."""
    if call.stream:
        return sse.respond(work, ResponseEvents(writer, keep))
    try:
        for _, event in work.events():
            writer.feed(event)
    finally:
        work.close()
    writer.close()
    keep()
    return json_response(encode(writer.response))


def _queue(call: ResponseCall, items: Sequence[Item], writer: ResponseWriter) -> Response:
    """Leave a response to the process that works on background runs; refused, it is not kept."""
    # Before the run is kept, since a client that hears of no place asks again.
    following = follow(current.store().runs, writer.response.id, -1) if call.stream else None
    try:
        _keep_run(call, items, writer)
    except BaseException:
        if following is not None:
            following.close()
        raise
    return following or json_response(encode(writer.response))


def _keep_run(call: ResponseCall, items: Sequence[Item], writer: ResponseWriter) -> None:
    first = [stored_responses.as_stored_event(told) for told in writer.queue()]
    response, runs = writer.response, current.store().runs
    home = Runtime.from_environment().server_name
    request_body = stored_responses.encode_request(call, items, response.model)
    runs.queue(
        stored_responses.as_stored(response),
        stored_responses.as_kept(items),
        call.previous_id,
        request_body,
        home,
        first,
        auth.keeper() or "",
        current.settings().queue_size,
        call.conversation_id,
    )


def refuse_websocket() -> Response:
    """Answer a client that would like to speak WebSocket."""
    message = "This server speaks no WebSocket; POST to this path, with `stream: true` for server-sent events."
    return error_response(ErrorInfo(426, "invalid_request_error", "websocket_unsupported", message))


# Werkzeug has rules of their own for requests that would upgrade; without one this would be a 405.
flask.Blueprint.add_url_rule(bp, "/responses", "websocket", refuse_websocket, methods=["GET"], websocket=True)


@bp.get("/responses/<response_id>")
@takes_seat("stream")
@bp.response(200, description="The response; with `stream`, its events.")
@bp.doc(
    operationId="getResponse",
    responses=openapi.streamed(shapes.Response),
    parameters=[
        openapi.query_parameter("stream", "Whether to stream the events of a background response.", type="boolean"),
        openapi.query_parameter(
            "starting_after", "The number of the event to begin behind.", type="integer", minimum=0
        ),
    ],
)
def get_response(response_id: str) -> Response:
    """Return a stored response, or the events of a background one"""
    after = whole_number("starting_after", -1, 0, 2**31 - 1)
    stored = input_items.kept_responses().get(response_id)
    if request.method == "HEAD" or request.args.get("stream", "false").lower() not in ("true", "1"):
        return json_response(stored_responses.encode_stored(stored))
    if not stored.background:
        raise InvalidRequest(
            "Only the events of background responses are stored; this one was made without `background`.",
            param="stream",
        )
    return follow(current.store().runs, response_id, after)


@bp.get("/responses/<response_id>/input_items")
@bp.response(200, openapi.schema(shapes.ItemList), description="The items, the last first unless `order` is asc.")
@bp.doc(
    operationId="listInputItems",
    parameters=listing.parameters(),
)
def list_input_items(response_id: str) -> Response:
    """Return the items that a response was made from"""
    return listing.respond_with_page(input_items.kept_responses().inputs(response_id))


@bp.post("/responses/<response_id>/cancel")
@bp.response(200, openapi.schema(shapes.Response), description="The response as it is now.")
@bp.doc(operationId="cancelResponse")
def cancel_response(response_id: str) -> Response:
    """Cancel a background response; one that has ended stays as it is"""
    responses = input_items.kept_responses()
    stored = responses.get(response_id)
    if not stored.background:
        raise InvalidRequest("Only background responses can be cancelled; close the connection of another.")
    current.store().runs.cancel(response_id)
    deadline = time.monotonic() + CANCEL_S
    while stored.status not in TERMINAL and time.monotonic() < deadline:
        time.sleep(LOOK_S)
        stored = responses.get(response_id)
    return json_response(stored_responses.encode_stored(stored))


@bp.delete("/responses/<response_id>")
@bp.response(200, openapi.schema(shapes.Deleted), description="It is deleted.")
@bp.doc(operationId="deleteResponse")
def delete_response(response_id: str) -> Response:
    """Delete a stored response; one that still runs is stopped"""
    input_items.kept_responses().delete(response_id)
    return json_response(encode(shapes.Deleted(response_id)))


@bp.post("/responses/input_tokens")
@bp.arguments(InputTokensRequest)
@bp.response(200, openapi.schema(shapes.InputTokens), description="The count.")
@bp.doc(operationId="countInputTokens")
@takes_place
def count_input_tokens(context: Context) -> Response:
    """Count the tokens of what a response would be made from"""
    _, config = chosen_model("chat", context.model)
    messages = input_items.messages_of(context, input_items.with_references_resolved(context.items))
    count = count_prompt_tokens(context.conversation(messages), Wanted(), config)
    return json_response(encode(shapes.InputTokens(count)))


@bp.post("/responses/render")
@bp.arguments(InputTokensRequest)
@bp.response(200, openapi.schema(Rendered), description="The prompt.")
@bp.doc(operationId="renderResponse")
@takes_place
def render_response(context: Context) -> Response:
    """Return the prompt of a response as text and tokens, without an answer"""
    name, config = chosen_model("chat", context.model)
    messages = input_items.messages_of(context, input_items.with_references_resolved(context.items))
    return json_response(rendered(name, *tokenized_prompt(context.conversation(messages), Wanted(), config)))


@bp.post("/responses/compact")
@bp.arguments(CompactRequest)
@bp.response(200, openapi.schema(shapes.Compaction), description="The conversation in short.")
@bp.doc(operationId="compactResponse")
@takes_place
def compact(context: Context) -> Response:
    """Make a conversation shorter, so that it can be continued"""
    _, config = chosen_model("chat", context.model)
    items = input_items.all_items(context, input_items.with_references_resolved(context.items))
    return json_response(encode(compacting.compacted(context, items, config)))
