"""The body of a streamed response: server-sent events or lines of JSON, its headers, its beats, and how it ends.

Knows no API family: a `Dialect` turns events into frames. gunicorn closes the body whatever happens, and that frees
everything.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple, Protocol

from flask import Response

from localai_flask.api import current
from localai_flask.api.answer.errors import MISTAKE
from localai_flask.api.answer.frames import comment
from localai_flask.api.work import fallback
from localai_flask.api.work.progress import ProgressReports, Report, Waits
from localai_flask.api.work.watch import ClientLeft
from localai_flask.api.work.work import Item, Work
from localai_flask.chat.answer import Event
from localai_flask.errors import ApiError
from localai_flask.metrics import families
from localai_flask.metrics.request_record import RequestRecord

log = logging.getLogger("gunicorn.error")

PATIENCE_S = 1.0
"""How long the headers wait for the first event, so that an early error can still be a proper HTTP error."""
PING_S = 0.4
"""A stream that has been silent this long says so at the next opportunity, which comes every half second."""
PING = comment("ping")
HEADERS = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would hold the events back
}


class Wire(NamedTuple):
    """How frames travel: their media type, and what a silent stream says that clients pass over."""

    mimetype: str
    beat: Callable[[Item], bytes]


def _comment(item: Item) -> bytes:
    return comment(f"loading {100 * item:.0f} %") if isinstance(item, float) else PING


SSE = Wire("text/event-stream", _comment)
NDJSON = Wire("application/x-ndjson", lambda _: b" ")
"""Lines of JSON, which may begin with spaces."""


class Dialect(Protocol):
    """One API family's way to tell an answer as it comes."""

    def feed(self, index: int, event: Event) -> bytes:
        """Frames for one event; empty if there is nothing to say."""

    def progress(self, index: int, report: Report) -> bytes:
        """Frames that tell how far a sequence is that has nothing to say yet; only called for those who ask."""

    def closing(self) -> bytes:
        """Frames after the last event."""

    def error(self, error: ApiError) -> bytes:
        """Frames that end the stream with an error."""


class Body(Protocol):
    """What is streamed, and holds something until it is closed."""

    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


def respond(work: Work, dialect: Dialect, wire: Wire = SSE) -> Response:
    """Make the streamed response.

    Raises what ends the work within the first second, before anything is sent.
    """
    return stream_response(EventStream(work, dialect, wire), wire)


def stream_response(body: Body, wire: Wire = SSE) -> Response:
    """Make the response of a stream that has begun; if that fails, it is closed."""
    try:
        response = Response(body, mimetype=wire.mimetype, headers=HEADERS)
        current.record().stream = True
        current.counts().add(families.OPEN_STREAMS)
    except BaseException:
        body.close()
        raise
    return response


def guarded(
    frames: Iterator[bytes], end: Callable[[ApiError], bytes], record: RequestRecord
) -> Generator[bytes, None, None]:
    """Pass frames on; what breaks them off becomes the last ones, unless the client has left."""
    try:
        yield from frames
    except ClientLeft:
        log.info("the client left its stream [%s]", record.id)
    except ApiError as error:
        # What is the client's fault may be told in the client's own words.
        shown = error if error.info.status >= 500 else error.info.code
        log.warning("a stream ended with an error: %s [%s]", shown, record.id)
        record.code = error.info.code
        yield end(error)
    except Exception:  # the HTTP boundary: the headers are gone, so Flask's handler can no longer answer
        log.exception("a stream failed [%s]", record.id)
        record.code = ApiError.code
        yield end(ApiError(MISTAKE))


class EventStream:
    """The body of a streamed response."""

    def __init__(self, work: Work, dialect: Dialect, wire: Wire = SSE):
        self._work = work
        self._dialect = dialect
        self._beat = wire.beat
        self._reports = ProgressReports() if work.tells_progress else None
        try:
            self._first = _first_event(work)
        except BaseException:
            work.close()
            raise
        self._frames = guarded(self._tell(), self._end, work.record)

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def close(self) -> None:
        self._frames.close()
        self._work.close()

    def _end(self, error: ApiError) -> bytes:
        self._work.close()
        return self._dialect.error(error)

    def _tell(self) -> Iterator[bytes]:
        # Headers leave with the first bytes, so a stream without an event yet begins with a beat.
        yield self._frame(self._first) or self._beat(self._first)
        spoke = time.monotonic()
        for item in self._work:
            frame = self._frame(item)
            now = time.monotonic()
            if not frame:
                if now - spoke < PING_S:
                    continue
                frame = self._beat(item)
            spoke = now
            yield frame
        if closing := self._dialect.closing():
            yield closing

    def _frame(self, item: Item) -> bytes:
        """Render an item; the end of a prompt is told before the text behind it."""
        progress = b""
        if self._reports is not None:
            progress = b"".join(self._dialect.progress(*report) for report in self._reports.feed(item))
        if not isinstance(item, tuple) or isinstance(item[1], Waits):
            return progress
        return progress + self._dialect.feed(item[0], item[1])


def _first_event(work: Work) -> Item:
    """Wait for the first event, but not longer than headers should; else return what was told last.

    While another model could still answer instead, nothing is sent.
    """
    deadline = math.inf if fallback.chain().has_more else time.monotonic() + PATIENCE_S
    latest: Item = None
    for item in work:
        latest = latest if item is None else item
        is_event = isinstance(item, tuple) and not isinstance(item[1], Waits)
        if is_event or time.monotonic() >= deadline:
            break
    return latest
