"""One background run between the thread that works on it and the main thread, which writes what the thread tells."""

from __future__ import annotations

import threading
import time

from localai_flask.api.observation import RUN
from localai_flask.api.responses import stored_responses
from localai_flask.api.responses.response_writer import ResponseWriter, WrittenEvent
from localai_flask.errors import ServerShuttingDown
from localai_flask.metrics.request_record import RequestRecord
from localai_flask.store.runs import Batch, Claimed

RENEW_S = 1.0
WITHOUT_OUTPUT = ("response.created", "response.queued", "response.in_progress")


class Stopped(Exception):
    """The run is not to go on."""


class Run:
    """One run that this process works on; its thread tells, the main thread takes what was told."""

    def __init__(self, claimed: Claimed):
        self.id = claimed.id
        self.claimed = claimed
        self.cancelled = claimed.cancelled
        self.begun = claimed.begun
        self.shutting_down = False
        self.gone = False
        """Nobody wants to hear of it: it belongs to another process, or to none."""
        self.record = RequestRecord(id=claimed.id, method=RUN, route="/v1/responses", family="responses")
        self.renewed_at = time.monotonic()
        self._lock = threading.Lock()
        self._batch = Batch()

    def check(self) -> None:
        """Raise what has to stop the run, if anything has."""
        self.record.check()
        if self.cancelled or self.gone:
            raise Stopped
        if self.shutting_down:
            raise ServerShuttingDown("The server was shut down before this response was finished.")

    def tell(self, told: list[WrittenEvent], writer: ResponseWriter) -> None:
        """Hand events over to be written; with the last one goes the whole response."""
        if not told:
            return
        with self._lock:
            if self.gone:
                raise Stopped
            self._batch.events += map(stored_responses.as_stored_event, told)
            if any(each.type not in WITHOUT_OUTPUT for each in told):
                self.begun = self._batch.begun = True
            if told[-1].last:
                self._batch.ended = stored_responses.as_stored(writer.response)

    def take(self) -> Batch | None:
        """Return what is new, or what renews the lease if it is time to; None if neither."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
        now = time.monotonic()
        if not batch.events and now - self.renewed_at < RENEW_S:
            return None
        self.renewed_at = now
        return batch

    def give_back(self) -> bool:
        """Let another process have it, unless a client may have seen output."""
        with self._lock:
            self.gone = self.gone or not self.begun
            return self.gone
