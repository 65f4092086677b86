"""The endpoints of chat streams that are read again, as llama-server has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import marshmallow
import msgspec
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer import sse
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_seat
from localai_flask.api.pages import openapi
from localai_flask.api.request.fields import Many, RequestSchema, Text
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.query import whole_number
from localai_flask.api.streams import kept_streams
from localai_flask.errors import InvalidRequest, NotFound
from localai_flask.store.responses.streams import StoredStream

bp = Blueprint("streams", __name__, description="Chat streams that are read again, as llama-server has them")

BEFORE_MODEL = "::"
"""What stands in an id between a conversation and one of its models."""
MOST_BYTES = 10**15
CONVERSATION = {
    **openapi.query_parameter("conv_id", f"What the request had as `{kept_streams.HEADER}`."),
    "required": True,
}


class StreamState(msgspec.Struct):
    """A stream; times are Unix times, and `completed_at` is 0 while it is made."""

    conversation_id: str
    is_done: bool
    total_bytes: int
    started_at: int
    completed_at: int


class LookupRequest(RequestSchema):
    conversation_ids = Many(Text(), load_default=list)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> list[str]:
        ids: list[str] = data["conversation_ids"]
        return ids


@bp.get("/stream")
@takes_seat()
@bp.doc(
    operationId="resumeStream",
    parameters=[
        CONVERSATION,
        openapi.query_parameter("from", "How many bytes of it to leave out.", type="integer", minimum=0),
    ],
    responses={"200": {"description": "The stream.", "content": {sse.SSE.mimetype: {"schema": openapi.EVENT}}}},
)
def resume_stream() -> Response:
    """Stream a chat completion again, and what comes of it"""
    conversation_id, skipped = _asked_id(), whole_number("from", 0, 0, MOST_BYTES)
    stream = kept_streams.of_caller().find(conversation_id)
    if stream is None:
        raise NotFound(
            f"There is no stream of the conversation {conversation_id!r}: none was begun with this key, it was "
            f"deleted, or it has ended more than {current.settings().stream_ttl} seconds ago.",
            param="conv_id",
        )
    if request.method == "HEAD":
        return Response(mimetype=sse.SSE.mimetype)
    return kept_streams.resume(stream, skipped)


@bp.delete("/stream")
@bp.response(204, description="There is none any more.")
@bp.doc(operationId="deleteStream", parameters=[CONVERSATION])
def delete_stream() -> Response:
    """End a conversation's stream, if it has one, and forget it"""
    kept_streams.of_caller().delete(_asked_id())
    return Response(status=204)


@bp.post("/streams/lookup")
@bp.arguments(LookupRequest)
@bp.response(200, openapi.schema_of_list(StreamState), description="Those that there are.")
@bp.doc(operationId="lookupStreams")
def look_up_streams(ids: list[str]) -> Response:
    """Return the streams of the conversations that are named, whatever their models"""
    by_name = defaultdict(list)
    for stream in kept_streams.of_caller().list() if ids else ():
        for name in _names_of(stream.conversation_id):
            by_name[name].append(stream)
    return json_response([_state(stream) for id in dict.fromkeys(ids) for stream in by_name[id]])


def _asked_id() -> str:
    id = request.args.get("conv_id", "")
    if not id:
        raise InvalidRequest("Name the conversation, as in /v1/stream?conv_id=….", param="conv_id")
    return kept_streams.check_id(id, "conv_id")


def _names_of(id: str) -> Iterator[str]:
    """Yield an id, and all it would be without the names of models at its end."""
    parts: Sequence[str] = id.split(BEFORE_MODEL)
    for count in range(len(parts), 0, -1):
        yield BEFORE_MODEL.join(parts[:count])


def _state(stream: StoredStream) -> StreamState:
    is_done, ended = stream.ended_at is not None, int(stream.ended_at or 0)
    return StreamState(stream.conversation_id, is_done, stream.size, int(stream.started_at), ended)
