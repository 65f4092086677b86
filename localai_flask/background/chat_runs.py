"""The work on one chat stream that outlives its client: this server is asked for it, and what it says is stored."""

from __future__ import annotations

import logging
import time

from flask import Flask

from localai_flask.api.answer.errors import MISTAKE, encode_error
from localai_flask.api.answer.frames import failure
from localai_flask.api.current import RECORD
from localai_flask.api.door.auth import ATTENDED
from localai_flask.api.streams.kept_streams import HEAD, PATH, Head, StreamRequest, encode_head, read_request
from localai_flask.background.in_process import asked, environ_of
from localai_flask.background.run import Run, Stopped
from localai_flask.errors import ApiError, TooManyRequests
from localai_flask.metrics.request_record import RequestRecord
from localai_flask.store.responses.responses import Stored
from localai_flask.store.responses.runs import Claimed, StoredEvent
from localai_flask.store.responses.streams import DATA

log = logging.getLogger("gunicorn.error")

STOPPING_S = 5.0
"""How long a stream that was replaced may take to stop, and may hold one of the requests that its key has at once."""
AGAIN_S = 0.2


def record_of(claimed: Claimed) -> RequestRecord:
    """Return a record that nobody counts, as the request inside has one of its own."""
    return RequestRecord(id=claimed.id)


def work(app: Flask, run: Run) -> None:
    """Work on a run until it has ended, or is not to go on."""
    written = _Written(run)
    try:
        run.check()
        run.refuse_to_repeat()
        _answer(app, run, written)
    except Stopped:
        pass  # it was deleted, or belongs to somebody else now
    except ApiError as error:
        written.fail(error)
    except Exception:  # the thread's boundary: whatever it is, the stream must not stay in progress
        log.exception("a kept stream failed")
        written.fail(ApiError(MISTAKE))


def _answer(app: Flask, run: Run, written: _Written) -> None:
    request = read_request(run.claimed.request)
    deadline = time.monotonic() + (STOPPING_S if request.replaces else 0.0)
    while (refusal := _ask(app, run, request, written)) is not None:
        if refusal.status != TooManyRequests.status or time.monotonic() >= deadline:
            return written.refuse(refusal)
        time.sleep(AGAIN_S)
        run.check()
    written.end("completed")


def _ask(app: Flask, run: Run, request: StreamRequest, written: _Written) -> Head | None:
    """Ask this server, and write what it says; return how it refuses, if it does."""
    environ = environ_of(app, PATH, bytes(request.body), run.claimed.keeper, request.headers)
    environ |= {ATTENDED: True, "REMOTE_ADDR": request.client}
    with asked(app, environ) as answer:
        head = Head(answer.status, dict(answer.headers))
        if answer.status != 200:
            head.body = b"".join(answer.body).decode()
            return head
        written.begin(head)
        for piece in answer.body:
            run.check()
            written.add(piece, is_output=environ[RECORD].answered is not None)
    return None


class _Written:
    """Writes a stream's events, numbered behind those of the process before."""

    def __init__(self, run: Run):
        self._run = run
        self._next = run.claimed.next_sequence

    def begin(self, head: Head) -> None:
        """Note how the answer begins, unless the process before has."""
        if not self._next:
            self._tell(HEAD, encode_head(head))

    def add(self, piece: bytes, *, is_output: bool) -> None:
        """Add bytes; those before the model's first token, without output, may stand there again."""
        self._tell(DATA, piece, is_output=is_output)

    def end(self, status: str, last_words: bytes = b"") -> None:
        self._tell(DATA, last_words, is_output=True, status=status)

    def refuse(self, head: Head) -> None:
        """End with an error, in the answer's status if that is not known yet."""
        if self._next:
            return self.end("failed", failure(head.body.encode()))
        self._tell(HEAD, encode_head(head), is_output=True, status="failed")

    def fail(self, error: ApiError) -> None:
        headers = {} if error.info.retry_after is None else {"Retry-After": f"{error.info.retry_after:.0f}"}
        try:
            self.refuse(Head(error.info.status, headers, encode_error(error.info).decode()))
        except Stopped:
            pass  # it belongs to somebody else now

    def _tell(self, type: str, data: bytes, *, is_output: bool = False, status: str = "") -> None:
        number, self._next = self._next, self._next + 1
        ended = Stored(self._run.id, status, True, b"", []) if status else None
        self._run.tell([StoredEvent(number, type, data, bool(status))], is_output=is_output, ended=ended)
