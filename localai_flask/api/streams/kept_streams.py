"""Chat streams that go on without their client, as llama-server has them: begun by a header, and read again by offset.

A stream is a run of the background process, whose events are its bytes; the first one says how the answer begins. Its
silences are told by beats that are stored too, as offsets count all that a client has read.
"""

from __future__ import annotations

import errno
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NoReturn

import msgspec
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer import sse, stored_stream
from localai_flask.api.answer.frames import failure
from localai_flask.api.door import auth
from localai_flask.api.door.places import settle, take_seat
from localai_flask.api.work.watch import Watch
from localai_flask.errors import ApiError, InvalidRequest
from localai_flask.pool.runtime import Runtime
from localai_flask.store.responses.runs import StoredEvent
from localai_flask.store.responses.streams import DATA, StoredStream, Streams

PATH = "/v1/chat/completions"
HEADER = "X-Conversation-Id"
DOCUMENTED_HEADER = {
    "in": "header",
    "name": HEADER,
    "description": "With `stream`: it goes on without its client, and can be read again at /v1/stream.",
    "schema": {"type": "string"},
}
LONGEST_ID = 255
HEAD = "head"
"""The type of the event that says how the answer begins."""
KEPT_HEADERS = ("Retry-After", "X-Should-Retry", "X-Tools-Left-Out", "X-LocalAI-Fallback")
LOOK_S = 0.04


class StreamRequest(msgspec.Struct):
    """What a run asks this server for; `replaces` a stream that was not at its end."""

    client: str
    headers: dict[str, str]
    body: msgspec.Raw
    replaces: bool = False


class Head(msgspec.Struct):
    """How an answer begins; one that is no stream has its whole `body` here, an error's JSON."""

    status: int
    headers: dict[str, str]
    body: str = ""


class _Code(msgspec.Struct, frozen=True):
    code: str = ""


class _Refusal(msgspec.Struct):
    error: _Code = _Code()


encode_head = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(Head).decode
read_request = msgspec.json.Decoder(StreamRequest).decode


def of_caller() -> Streams:
    return current.store().streams.kept_by(auth.keeper() or "")


def conversation_of_header() -> str:
    """Return the conversation whose stream a request begins; empty if it asks for a plain one."""
    id = _decoded(request.headers.get(HEADER, ""))
    return check_id(id, HEADER) if id else ""


def _decoded(header: str) -> str:
    """Return a header's text: its bytes, which WSGI reads as Latin-1, are UTF-8 from most clients, but for browsers."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def check_id(id: str, param: str) -> str:
    """Return the id of a conversation; raise `InvalidRequest` if it can be none."""
    if len(id) > LONGEST_ID or not id.isprintable():
        raise InvalidRequest(f"`{param}` must have printable characters, at most {LONGEST_ID}.", param=param)
    return id


def begin(conversation_id: str, body: Mapping[str, object], model: str | None) -> Response:
    """Have the background process answer the present request, and stream what it stores."""
    with ExitStack() as taken:
        place = take_seat()  # before the run is kept, since a client that hears of no place asks again
        taken.callback(place.release)
        run_id = _queue(conversation_id, {**body, "model": model} if model else body)
        settle()  # others may be looked at, since this one asks no model
        head = _await_head(run_id, math.inf)
        assert head is not None, "the wait has no end"
        if head.status != 200:
            of_caller().delete_run(run_id)  # its client knows
            return _refusal(head)
        streamed = stored_stream.follow(current.store().runs, run_id, 0, StreamBytes(), place)
        streamed.headers.update(_kept(head))
        taken.pop_all()
    return streamed


def resume(stream: StoredStream, skipped: int) -> Response:
    """Stream what there is of a stream behind this many bytes, and then what comes."""
    with ExitStack() as taken:
        place = take_seat()
        taken.callback(place.release)
        head = _await_head(stream.run_id, sse.PATIENCE_S)
        if head is not None and head.status != 200:
            return _refusal(head)
        streamed = stored_stream.follow(current.store().runs, stream.run_id, -1, StreamBytes(skipped), place)
        taken.pop_all()
    return streamed


class StreamBytes:
    """The dialect of a stream whose events are its bytes, without those that a client has."""

    beat, end = b"", b""

    def __init__(self, skipped: int = 0):
        self._skipped = skipped

    def render(self, told: Sequence[StoredEvent]) -> bytes:
        data = b"".join(map(_bytes_of, told))
        skipped = min(self._skipped, len(data))
        self._skipped -= skipped
        return data[skipped:]

    def deleted(self) -> bytes:
        return b""

    def error(self, error: ApiError) -> NoReturn:
        """Break the connection off, as the stream goes on: no frame that is not stored may be counted as read."""
        raise ConnectionResetError(errno.ECONNRESET, f"a kept stream was left: {error.info.code}") from error


def _bytes_of(event: StoredEvent) -> bytes:
    if event.type == DATA:
        return event.data
    head = _decode_head(event.data)
    return b"" if head.status == 200 else failure(head.body.encode())


def _queue(conversation_id: str, body: Mapping[str, object]) -> str:
    run_id, record = f"stream_{uuid.uuid4().hex}", current.record()
    headers = {"X-Request-Id": record.id, "traceparent": record.trace, "Prefer": request.headers.get("Prefer", "")}
    encoded = msgspec.Raw(msgspec.json.encode(body))
    before = of_caller().find(conversation_id)
    asked = StreamRequest(request.remote_addr or "", headers, encoded, before is not None and before.ended_at is None)
    home, most = Runtime.from_environment().server_name, current.settings().queue_size
    of_caller().begin(conversation_id, run_id, msgspec.json.encode(asked), home, most)
    return run_id


def _await_head(run_id: str, patience_s: float) -> Head | None:
    """Wait until it is known how a stream begins, but not for longer; raise `InvalidRequest` if it is ended before."""
    runs, watch, begun = current.store().runs, Watch(request.environ), time.monotonic()
    looked = begun
    while not (found := runs.events_after(run_id, -1, most=1)):
        watch.check()
        now = time.monotonic()
        if now - begun >= patience_s:
            return None
        if now - looked >= sse.PING_S:
            looked = now
            _check_exists(run_id)
        time.sleep(LOOK_S)
    return _decode_head(found[0].data)


def _check_exists(run_id: str) -> None:
    if not current.store().runs.exists(run_id):
        raise InvalidRequest(
            f"This stream was cancelled before it began: by DELETE /v1/stream, or by another request with its {HEADER}."
        )


def _refusal(head: Head) -> Response:
    current.record().code = msgspec.json.decode(head.body, type=_Refusal).error.code
    return Response(head.body, head.status, _kept(head), mimetype="application/json")


def _kept(head: Head) -> dict[str, str]:
    return {name: value for name, value in head.headers.items() if name in KEPT_HEADERS}
