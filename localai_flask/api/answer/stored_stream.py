"""A stream of what a background run tells, wherever that runs: what is stored, and then what comes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer import sse
from localai_flask.api.door.places import Place, settle
from localai_flask.api.work.watch import Watch
from localai_flask.errors import ApiError
from localai_flask.store.responses.runs import Runs, StoredEvent

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.04, 0.1
"""How often to look for new events of a run: soon after some, and after a silence."""


class Telling(Protocol):
    """One API family's way to tell the events of a run."""

    beat: bytes
    """What a silent stream says."""
    end: bytes
    """What stands behind the last event."""

    def render(self, told: Sequence[StoredEvent]) -> bytes: ...

    def deleted(self) -> bytes:
        """Return the end of the stream of a run that was deleted meanwhile, or raise why it ends."""

    def error(self, error: ApiError) -> bytes:
        """Return frames that end the stream with an error."""


def follow(runs: Runs, id: str, after: int, telling: Telling, place: Place) -> Response:
    """Stream a run's events behind number `after`; the place is given back at the end."""
    return sse.stream_response(StoredStream(runs, id, after, telling, place))


class StoredStream:
    """The body of such a stream."""

    def __init__(self, runs: Runs, id: str, after: int, telling: Telling, place: Place):
        self._runs = runs
        self._id = id
        self._after = after
        self._telling = telling
        self._place = place
        self._watch = Watch(request.environ)
        settle()  # others may be looked at, since this one asks no model
        self._frames = sse.guarded(self._tell(), telling.error, current.record())

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def close(self) -> None:
        self._frames.close()
        self._place.release()

    def _tell(self) -> Iterator[bytes]:
        pause, spoke = SHORTEST_PAUSE_S, 0.0
        while True:
            self._watch.check()
            if found := self._runs.events_after(self._id, self._after):
                self._after, pause, spoke = found[-1].sequence, SHORTEST_PAUSE_S, time.monotonic()
                if frames := self._telling.render(found):
                    yield frames
                if found[-1].is_last:
                    yield self._telling.end
                    return
                continue
            if time.monotonic() - spoke >= sse.PING_S:
                if (end := self._end()) is not None:
                    yield end
                    return
                spoke = time.monotonic()
                yield self._telling.beat
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    def _end(self) -> bytes | None:
        """Return what ends the stream if nothing comes any more."""
        if not self._runs.exists(self._id):
            return self._telling.deleted()
        last = self._runs.last_event(self._id)
        return self._telling.end if last is not None and last.is_last and last.sequence <= self._after else None
