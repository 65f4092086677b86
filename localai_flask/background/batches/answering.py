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
from werkzeug.test import EnvironBuilder

from localai_flask.api import current
from localai_flask.api.answer.errors import MISTAKE
from localai_flask.api.batches.lines import LineAnswer, LineError, encode_answer
from localai_flask.api.batches.usage import read_usage
from localai_flask.api.door.auth import CALLER
from localai_flask.errors import ApiError, RequestCancelled
from localai_flask.keys.key import ANYONE, Key
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
        key = self._key()
        builder = EnvironBuilder(
            path=self._batch.endpoint, method="POST", data=self._line.request, content_type="application/json"
        )
        self._environ = builder.get_environ()
        if key is not None:
            self._environ[CALLER] = key
        return _call(self._app, self._environ)

    def _key(self) -> Key | None:
        """Return the key of whoever asked for the batch, as it is now; None if it is none any more."""
        if not self._batch.keeper:
            return ANYONE
        with self._app.app_context():
            return current.keys().of_keeper(self._batch.keeper)

    def _pause(self, told: str) -> None:
        pause_s = float(told) if told.isdigit() else SHORTEST_PAUSE_S
        until = time.monotonic() + min(max(pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        while time.monotonic() < until and not self._stopping.is_set():
            time.sleep(LOOK_S)


def _call(app: Flask, environ: dict[str, Any]) -> tuple[bytes, int, Headers]:
    """Ask the application; werkzeug's `run_wsgi_app` does so with a copy, of which nobody could cancel the request."""
    answer: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
        answer[:] = [int(status[:3]), Headers(headers)]
        return bytes

    body = app.wsgi_app(environ, start_response)
    try:
        return b"".join(body), *answer
    finally:
        if hasattr(body, "close"):
            body.close()
