"""`GET /api/events`: pictures of the server, one after the other, as server-sent events."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer.frames import frame
from localai_flask.api.answer.sse import PING, guarded, stream_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.live.listeners import join_listeners, leave_listeners
from localai_flask.api.live.picture import Picture
from localai_flask.api.live.pictures import Pictures
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.work.watch import Watch, is_draining
from localai_flask.errors import ApiError

bp = Blueprint("live", __name__, description="The server as it is now")

LOOK_S = 0.25
PING_S = 5.0
RETRY = b"retry: 1000\n\n"
"""After how many milliseconds a client whose stream has broken off is to come again."""


@bp.get("/api/events")
@admin_only
@bp.doc(
    operationId="watchServer",
    responses={
        "200": {
            "description": "Events called `picture`, each of them whole.",
            "content": {"text/event-stream": {"schema": openapi.EVENT, "x-data": openapi.schema(Picture)}},
        }
    },
)
def watch_server() -> Response:
    """Watch the server: models, workers, requests, counts, failures and downloads, as server-sent events"""
    return stream_response(PictureStream(Watch(request.environ), current.pictures()))


class PictureStream:
    """The body of the stream; it ends when the client leaves or the server stops."""

    def __init__(self, watch: Watch, pictures: Pictures):
        self._watch, self._pictures = watch, pictures
        self._frames = guarded(self._tell(), _end, watch.record)
        join_listeners()  # last, as nobody closes what could not be made
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def close(self) -> None:
        """End the stream; may be called again."""
        if self._is_open:
            self._is_open = False
            leave_listeners()

    def _tell(self) -> Iterator[bytes]:
        yield RETRY
        number, spoke = 0, time.monotonic()
        while not is_draining():
            self._watch.check()
            newest, picture = self._pictures.newer_than(number)
            now = time.monotonic()
            if newest != number:
                number, spoke = newest, now
                yield frame(picture, "picture")
            elif now - spoke > PING_S:
                spoke = now
                yield PING
            time.sleep(LOOK_S)


def _end(error: ApiError) -> bytes:
    return frame(msgspec.json.encode({"message": str(error)}), "error")
