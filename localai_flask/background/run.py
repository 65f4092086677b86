"""One background run between the thread that works on it and the main thread, which writes what the thread tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from localai_flask.errors import ServerShuttingDown, Unavailable
from localai_flask.metrics.request_record import RequestRecord
from localai_flask.store.responses.responses import Stored
from localai_flask.store.responses.runs import Batch, Claimed, StoredEvent
from localai_flask.store.responses.streams import DATA

RENEW_S = 1.0
MOST_ATTEMPTS = 3


class Stopped(Exception):
    """The run is not to go on."""


class Run:
    """One run that this process works on; its thread tells, the main thread takes what was told."""

    def __init__(self, claimed: Claimed, record: RequestRecord, before: Sequence[StoredEvent] = ()):
        self.id = claimed.id
        self.claimed = claimed
        self.before = before
        """What another process has told of it, where that is needed to go on."""
        self.cancelled = claimed.cancelled
        self.begun = claimed.begun
        self.shutting_down = False
        self.gone = False
        """Nobody wants to hear of it: it belongs to another process, or to none."""
        self.record = record
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

    def refuse_to_repeat(self) -> None:
        """Raise `Unavailable` if the processes before this one have failed at it, or have told part of its output."""
        if self.claimed.begun:
            raise Unavailable("The process that worked on this response ended before it was finished; ask again.")
        if self.claimed.attempts > MOST_ATTEMPTS:
            raise Unavailable(f"The process that worked on this response ended {MOST_ATTEMPTS} times; ask for less.")

    def tell(self, told: Sequence[StoredEvent], *, is_output: bool, ended: Stored | None = None) -> None:
        """Hand events over to be written; with the last one goes the whole response."""
        with self._lock:
            if self.gone:
                raise Stopped
            self._batch.events += told
            if is_output:
                self.begun = self._batch.begun = True
            self._batch.ended = ended

    def take(self) -> Batch | None:
        """Return what is new, or what renews the lease if it is time to; None if neither."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
        now = time.monotonic()
        if not batch.events and now - self.renewed_at < RENEW_S:
            return None
        self.renewed_at = now
        batch.events = _joined(batch.events)
        return batch

    def give_back(self) -> bool:
        """Let another process have it, unless a client may have seen output."""
        with self._lock:
            self.gone = self.gone or not self.begun
            return self.gone


def _joined(told: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Join the bytes of a stream that come together into one event."""
    joined: list[StoredEvent] = []
    for event in told:
        if joined and joined[-1].type == event.type == DATA:
            event = StoredEvent(event.sequence, DATA, joined.pop().data + event.data, event.is_last)
        joined.append(event)
    return joined
