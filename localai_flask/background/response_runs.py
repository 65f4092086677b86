"""The work on one background response: in a thread of its own, from its stored request to its last event."""

from __future__ import annotations

import logging
import time

from flask import Flask

from localai_flask.api import observation
from localai_flask.api.answer.errors import MISTAKE
from localai_flask.api.door import auth
from localai_flask.api.observation import RUN
from localai_flask.api.responses import stored_responses, stored_runs
from localai_flask.api.responses.response_writer import ResponseWriter, WrittenEvent
from localai_flask.api.work.work import Work
from localai_flask.background.run import Run, Stopped
from localai_flask.errors import ApiError, Overloaded, TooManyRequests
from localai_flask.metrics.request_record import RequestRecord
from localai_flask.store.responses.runs import Claimed

log = logging.getLogger("gunicorn.error")

LOOK_S = 0.05
NO_ROOM = (Overloaded.code, TooManyRequests.code)
"""Why a run waits that has not begun: its model is full, or its key has as many requests at work as it may."""
WITHOUT_OUTPUT = ("response.created", "response.queued", "response.in_progress")
STOPPED = "cancelled"
"""In the access log, in the place of an error: its client has cancelled the run, or another process has it."""
UNREADABLE = "What was stored of this response cannot be read by this version of the server; ask again."


def record_of(claimed: Claimed) -> RequestRecord:
    return RequestRecord(id=claimed.id, method=RUN, route="/v1/responses", family="responses", keeper=claimed.keeper)


def work(app: Flask, run: Run) -> None:
    """Work on a run until it has ended, or is not to go on."""
    observation.begin(app, run.record)
    try:
        _work(app, run)
    finally:
        observation.end(app, run.record)


def _work(app: Flask, run: Run) -> None:
    try:
        writer = stored_runs.continue_writer(run.claimed, run.before)
    except Exception:  # whatever another version of this server may have written
        log.exception("a stored background run cannot be read")
        return _fail(run, stored_runs.begin_anew(run.claimed), ApiError(UNREADABLE))
    try:
        run.check()
        run.refuse_to_repeat()
        with app.app_context():
            auth.work_for(run.claimed.keeper)
            _answer(run, writer)
    except Stopped:
        run.record.code = STOPPED
        if not run.gone:
            _tell(run, writer.cancel(), writer)
    except ApiError as error:
        _fail(run, writer, error)
    except Exception:  # the thread's boundary: whatever it is, the response must not stay in progress
        log.exception("a background run failed")
        _fail(run, writer, ApiError(MISTAKE))


def _answer(run: Run, writer: ResponseWriter) -> None:
    if run.claimed.next_sequence <= 2:  # else an earlier attempt has told it
        _tell(run, writer.start(), writer)
    writer.response.status = "in_progress"
    while True:
        try:
            return _attempt(run, writer)
        except ApiError as error:
            if error.info.code not in NO_ROOM or run.begun:
                raise
            _pause(run, error.info.retry_after or 1.0)


def _attempt(run: Run, writer: ResponseWriter) -> None:
    work: Work = stored_runs.begin_stored_work(run.claimed, writer, run)
    try:
        for _, event in work.events():
            _tell(run, writer.feed(event), writer)
        _tell(run, writer.close(), writer)
    finally:
        work.close()


def _pause(run: Run, for_s: float) -> None:
    """Wait while there is no room, as nobody stands in line behind a background run."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        run.check()
        time.sleep(LOOK_S)


def _fail(run: Run, writer: ResponseWriter, error: ApiError) -> None:
    run.record.code = error.info.code
    try:
        _tell(run, writer.fail(error), writer)
    except Stopped:
        pass  # it belongs to somebody else now


def _tell(run: Run, told: list[WrittenEvent], writer: ResponseWriter) -> None:
    if told:
        is_output = any(each.type not in WITHOUT_OUTPUT for each in told)
        ended = stored_responses.as_stored(writer.response) if told[-1].last else None
        run.tell([*map(stored_responses.as_stored_event, told)], is_output=is_output, ended=ended)
