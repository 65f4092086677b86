"""What a background run does with a stored request: read it, continue its response, and begin the work."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from marshmallow import ValidationError

from localai_flask.api.request.model_choice import find_model
from localai_flask.api.request.parsing import first_error
from localai_flask.api.responses import shapes
from localai_flask.api.responses.calls import ResponseCall
from localai_flask.api.responses.creation import CLIENT_NAMES, begin_work, writing_options
from localai_flask.api.responses.input.input_items import messages_of
from localai_flask.api.responses.response_writer import ResponseWriter, WritingOptions
from localai_flask.api.responses.schemas import ResponseRequest
from localai_flask.api.work.work import Watching, Work
from localai_flask.config.sampling import sampling
from localai_flask.errors import InvalidRequest
from localai_flask.store.responses.runs import Claimed, StoredEvent


def read_call(claimed: Claimed) -> ResponseCall:
    """Read a stored request; raise `InvalidRequest` if this version of the server does not take it any more."""
    body: Mapping[str, Any] = msgspec.json.decode(claimed.request)
    try:
        call: ResponseCall = ResponseRequest().load(body)
    except ValidationError as error:
        path, message = first_error(error.messages)
        raise InvalidRequest(f"`{path}` {message}", param=path) from error
    return call


def continue_writer(claimed: Claimed, told: Sequence[StoredEvent]) -> ResponseWriter:
    """Return a writer that continues a response from where its events end."""
    response = msgspec.json.decode(claimed.body, type=shapes.Response)
    writer = ResponseWriter(response, WritingOptions(), claimed.next_sequence)
    if claimed.begun:
        writer.restore([msgspec.json.decode(event.data) for event in told])
    return writer


def begin_anew(claimed: Claimed) -> ResponseWriter:
    """Return a writer that begins a response anew which cannot be read, so that it can end as failed."""
    response = shapes.Response(
        id=claimed.id,
        created_at=int(time.time()),
        background=True,
        model="",
        previous_response_id=claimed.previous_id,
        temperature=1.0,
        top_p=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        text=shapes.TextOptions({"type": "text"}),
    )
    return ResponseWriter(response, WritingOptions(), claimed.next_sequence)


def begin_stored_work(claimed: Claimed, writer: ResponseWriter, watch: Watching) -> Work:
    """Begin to work on a stored request."""
    call = read_call(claimed)
    writer.options = writing_options(call)
    assert call.model is not None, "a stored request names its model"
    config = find_model(call.model, "chat")
    params = sampling.merge(config, call.asked, CLIENT_NAMES)
    return begin_work(call, messages_of(call, call.items), config, params, writer, watch)
