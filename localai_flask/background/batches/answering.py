"""One line of a batch as a request to this server: asked inside this process, with the key of the batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Flask
from werkzeug.datastructures import Headers

from localai_flask.api import current
from localai_flask.api.answer.errors import MISTAKE
from localai_flask.api.batches.lines import LineAnswer, LineError, encode_answer
from localai_flask.api.batches.usage import read_usage
from localai_flask.background.in_process import asked, environ_of
from localai_flask.errors import ApiError, RequestCancelled
from localai_flask.store.batches.rows import NO_USAGE, Answered, Line, Outcome, StoredBatch

log = logging.getLogger("gunicorn.error")

BUSY = (429, 503)
"""What is answered when there is no room now."""
MOST_TRIES = 60
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LOOK_S = 0.05


class LineWork(threading.Thread):
    """Asks for the answer of one line; `done` is called in this thread with it, or with None if it was stopped."""

    def __init__(self, app: Flask, batch: StoredBatch, line: Line, done: Callable[[Line, Answered | None], None]):
        super().__init__(name=f"{batch.id}-{line.number}", daemon=True)
        self._app = app
        self._batch = batch
        self._line = line
        self._done = done
        self._environ: dict[str, Any] = {}
        self._stopping = threading.Event()
        self.is_starved = False
        """Whether it has begun beside others, having waited for long enough; then it need not make way."""

    def stop(self) -> None:
        """Stop asking; it stays as it was."""
        self._stopping.set()
        if (record := self._environ.get(current.RECORD)) is not None:
            record.is_cancelled = True

    def run(self) -> None:
        try:
            answered = self._answer()
        except Exception:  # the thread's boundary: a line that cannot be asked must not be asked for ever
            log.exception("line %d of the batch %s failed", self._line.number + 1, self._batch.id)
            answer = LineAnswer(error=LineError(ApiError.code, MISTAKE))
            answered = Answered(self._line.number, "errored", encode_answer(answer))
        self._done(self._line, answered)

    def _answer(self) -> Answered | None:
        for attempt in range(1, MOST_TRIES + 1):
            if self._stopping.is_set():
                return None
            body, status, headers = self._ask()
            if self._stopping.is_set() and status == RequestCancelled.status:
                return None
            if int(status) not in BUSY or attempt == MOST_TRIES:
                answer = LineAnswer(int(status), headers.get("X-Request-Id", ""), msgspec.Raw(body))
                outcome: Outcome = "succeeded" if int(status) == 200 else "errored"
                usage = read_usage(body) if outcome == "succeeded" else NO_USAGE
                return Answered(self._line.number, outcome, encode_answer(answer), usage)
            self._pause(headers.get("Retry-After", ""))
        return None

    def _ask(self) -> tuple[bytes, int, Headers]:
        self._environ = environ_of(self._app, self._batch.endpoint, self._line.request, self._batch.keeper)
        with asked(self._app, self._environ) as answer:
            return b"".join(answer.body), answer.status, answer.headers

    def _pause(self, told: str) -> None:
        pause_s = float(told) if told.isdigit() else SHORTEST_PAUSE_S
        until = time.monotonic() + min(max(pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        while time.monotonic() < until and not self._stopping.is_set():
            time.sleep(LOOK_S)
