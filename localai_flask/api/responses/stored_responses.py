"""Responses, their items and their requests as they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from localai_flask.api.responses import shapes
from localai_flask.api.responses.calls import ResponseCall
from localai_flask.api.responses.input.items import Item
from localai_flask.api.responses.response_writer import WrittenEvent, encode
from localai_flask.store.kept import Kept
from localai_flask.store.responses.responses import Stored
from localai_flask.store.responses.runs import StoredEvent


def as_stored(response: shapes.Response) -> Stored:
    """Return a response in the form in which it is kept."""
    body = encode(msgspec.structs.replace(response, output=[]))
    output = [Kept(item.id, encode(item)) for item in response.output]
    return Stored(response.id, response.status, response.background, body, output)


def as_kept(items: Iterable[Item]) -> list[Kept]:
    return [Kept(item["id"], encode(item)) for item in items]


def as_stored_event(told: WrittenEvent) -> StoredEvent:
    return StoredEvent(told.sequence, told.type, told.data, told.last)


def encode_stored(stored: Stored) -> bytes:
    """Return the JSON of a stored response."""
    response = msgspec.json.decode(stored.body)
    response["status"] = stored.status
    response["output"] = [msgspec.Raw(kept.body) for kept in stored.output]
    return encode(response)


def encode_request(call: ResponseCall, items: Sequence[Item], name: str) -> bytes:
    """Return a request as a run reads it again: by the name of the model that was found, and with its items whole."""
    return encode({**call.body, "model": name, "input": items})
