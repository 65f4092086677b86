"""Responses as server-sent events: as they are made, or, of background runs, as they are stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator

from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer import sse
from localai_flask.api.answer.frames import DONE, frame
from localai_flask.api.door.places import take_place
from localai_flask.api.responses.response_writer import ResponseWriter, WrittenEvent, encode
from localai_flask.api.work.progress import Report
from localai_flask.api.work.watch import Watch
from localai_flask.chat.answer import Event
from localai_flask.errors import ApiError
from localai_flask.store.responses import ResponseNotFound
from localai_flask.store.runs import Runs, StoredEvent

log = logging.getLogger("gunicorn.error")

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.04, 0.1
"""How often to look for new events of a run: soon after some, and after a silence."""


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
    return sse.stream_response(Following(runs, id, after))


class Following:
    """The body of a stream of stored events."""

    def __init__(self, runs: Runs, id: str, after: int):
        self._runs = runs
        self._id = id
        self._after = after
        self._store = current.store()
        self._watch = Watch(request.environ)
        self._place = take_place()
        self._frames = sse.guarded(self._stored_frames(), self._end, current.record())

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def close(self) -> None:
        self._frames.close()
        self._place.release()

    def _end(self, error: ApiError) -> bytes:
        details = {"type": error.info.type, "code": error.info.code, "message": error.info.message, "param": None}
        body = {**details, "type": "error", "sequence_number": self._after + 1, "error": details}
        return frame(encode(body), "error") + DONE

    def _stored_frames(self) -> Iterator[bytes]:
        pause, spoke = SHORTEST_PAUSE_S, 0.0
        while True:
            self._watch.check()
            if found := self._runs.events_after(self._id, self._after):
                self._after, pause, spoke = found[-1].sequence, SHORTEST_PAUSE_S, time.monotonic()
                yield b"".join(map(_frame, found))
                if found[-1].is_last:
                    yield DONE
                    return
                continue
            if time.monotonic() - spoke >= sse.PING_S:
                if self._has_ended():
                    yield DONE
                    return
                spoke = time.monotonic()
                yield sse.PING
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    def _has_ended(self) -> bool:
        """Whether nothing comes any more; raise `ResponseNotFound` if the response was deleted meanwhile."""
        last = self._runs.last_event(self._id)
        if last is None:
            raise ResponseNotFound(self._id)
        return last.is_last and last.sequence <= self._after


def _frame(event: StoredEvent) -> bytes:
    return frame(event.data, event.type)
