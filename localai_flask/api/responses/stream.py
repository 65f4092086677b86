"""Responses as server-sent events: as they are made, or, of background runs, as they are stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from flask import Response

from localai_flask.api.answer import sse, stored_stream
from localai_flask.api.answer.frames import DONE, frame
from localai_flask.api.door.places import take_seat
from localai_flask.api.responses.response_writer import ResponseWriter, WrittenEvent, encode
from localai_flask.api.work.progress import Report
from localai_flask.chat.answer import Event
from localai_flask.errors import ApiError
from localai_flask.store.responses.responses import ResponseNotFound
from localai_flask.store.responses.runs import Runs, StoredEvent

log = logging.getLogger("gunicorn.error")


class ResponseEvents:
    """The dialect of a response that is made while its client listens; `keep` stores it at its end."""

    def __init__(self, writer: ResponseWriter, keep: Callable[[], None]):
        self._writer = writer
        self._keep = keep
        self._begun = False

    def feed(self, index: int, event: Event) -> bytes:
        """Frames for one event."""
        return _frames([*self._begin(), *self._writer.feed(event)])

    def progress(self, index: int, report: Report) -> bytes:
        """Return an event as llama-server makes it."""
        return _frames([*self._begin(), self._writer.progress(report)])

    def closing(self) -> bytes:
        """The rest of the events; the response is stored before its client hears of its end."""
        events = self._writer.close()
        try:
            self._keep()
        except ApiError as error:
            log.warning("a response could not be stored: %s", error.info.code)
            self._writer.withdraw(events.pop())
            events += self._writer.fail(error)
        return _frames(events) + DONE

    def error(self, error: ApiError) -> bytes:
        """End everything that is open, with the reason."""
        events = [*self._begin(), *self._writer.fail(error)]
        try:
            self._keep()
        except ApiError as unkept:
            log.warning("a failed response could not be stored: %s", unkept.info.code)
        return _frames(events) + DONE

    def _begin(self) -> list[WrittenEvent]:
        if self._begun:
            return []
        self._begun = True
        return [*self._writer.begin(), *self._writer.start()]


def _frames(events: Iterable[WrittenEvent]) -> bytes:
    return b"".join(each.frame for each in events)


def follow(runs: Runs, id: str, after: int) -> Response:
    """Stream the events of a background run behind number `after`: those that are stored, then those that come."""
    return stored_stream.follow(runs, id, after, StoredEvents(id, after), take_seat())


class StoredEvents:
    """The dialect of a response that is made in the background."""

    beat, end = sse.PING, DONE

    def __init__(self, id: str, after: int):
        self._id = id
        self._after = after

    def render(self, told: Sequence[StoredEvent]) -> bytes:
        self._after = told[-1].sequence
        return b"".join(frame(each.data, each.type) for each in told)

    def deleted(self) -> bytes:
        raise ResponseNotFound(self._id)

    def error(self, error: ApiError) -> bytes:
        details = {"type": error.info.type, "code": error.info.code, "message": error.info.message, "param": None}
        body = {**details, "type": "error", "sequence_number": self._after + 1, "error": details}
        return frame(encode(body), "error") + DONE
