"""Sees each request come and its answer end, whatever happens in between: notes, counts and logs it once.

Wraps the application as a server calls it, since a streamed answer ends long after Flask has let go of its request.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from flask import Flask, Response, request

from localai_flask.api.current import RECORD
from localai_flask.api.door import auth
from localai_flask.metrics import access_line, tracing
from localai_flask.metrics import families as f
from localai_flask.metrics.counts import Counts
from localai_flask.metrics.in_flight import InFlight
from localai_flask.metrics.request_record import CLIENT_LEFT, RequestRecord
from localai_flask.settings import Settings

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
"""What of a client's request id is taken over: it is repeated in a header and in the log."""
NOTHING: Mapping[str, Any] = {}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
RUN = "RUN"
"""In the place of a method: a background run, whose request has been answered before."""
OTHER = "other"
UNKNOWN_ROUTE = UNKNOWN_METHOD = "-"
UNIX = "unix"
"""Whoever calls over a Unix socket, without a proxy that names its client."""
QUIET = frozenset({"/health", "/healthz", "/readyz", "/metrics"})
"""Routes that machines call every few seconds, and that leave no line in the log if all is well."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Observed:
    """The application as a server calls it, observed."""

    def __init__(self, app: Flask):
        self._app = app
        self._application: Application = app.wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        record = environ[RECORD] = _record_of(environ)
        begin(self._app, record, environ)

        def start(status: str, *rest: Any) -> Any:
            record.status = int(status[:3])
            return start_response(status, *rest)

        try:
            return Answer(self._application(environ, start), record, lambda: end(self._app, record))
        except BaseException:
            end(self._app, record)
            raise


class Answer:
    """The body of an answer, whose end is seen."""

    def __init__(self, body: Iterable[bytes], record: RequestRecord, end: Callable[[], None]):
        self._body = body
        self._record = record
        self._end: Callable[[], None] | None = end
        self._is_whole = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body
        self._is_whole = True

    def close(self) -> None:
        """Close the body; the server does so whether or not its client has taken all of it."""
        end, self._end = self._end, None
        try:
            if (close := getattr(self._body, "close", None)) is not None:
                close()
        finally:
            if end is not None:
                if not self._is_whole and not self._record.code:
                    self._record.code = CLIENT_LEFT
                end()


def note_refusal(app: Flask, client: str, method: str, status: int, code: str) -> None:
    """Count and log a request that was refused before the application could see it."""
    record = RequestRecord(id=uuid.uuid4().hex, client=client or UNIX, method=method or UNKNOWN_METHOD)
    record.route, record.status, record.code = UNKNOWN_ROUTE, status, code
    begin(app, record)
    end(app, record)


def begin(app: Flask, record: RequestRecord, environ: Mapping[str, Any] = NOTHING) -> None:
    """Count a request, or a background run, as one in flight."""
    app.extensions["in_flight"].add(record)
    if (traced := tracing.of_process()) is not None and environ.get("PATH_INFO") not in QUIET:
        traced.begin_request(record, environ.get("HTTP_TRACEPARENT", ""), environ.get("HTTP_TRACESTATE", ""))
    counts: Counts = app.extensions["counts"]()
    counts.prepare(f.OPEN_STREAMS)
    counts.add(f.OPEN_REQUESTS)


def end(app: Flask, record: RequestRecord) -> None:
    """Count and log what has ended."""
    now = time.monotonic()
    in_flight: InFlight = app.extensions["in_flight"]
    in_flight.remove(record)
    if record.route not in QUIET:
        in_flight.note_failure(record)
    counts: Counts = app.extensions["counts"]()
    counts.add(f.OPEN_REQUESTS, (), -1)
    if record.stream:
        counts.add(f.OPEN_STREAMS, (), -1)
    _count(counts, record, now)
    if record.span is not None and (traced := tracing.of_process()) is not None:
        traced.end_request(record, now)
    settings: Settings = app.extensions["settings"]
    render = access_line.FORMS[settings.access_log]
    is_quiet = record.route in QUIET and record.status < 400 and settings.log_level.lower() != "debug"
    if render is not None and not is_quiet:
        access_line.write(render(record, now))


def _count(counts: Counts, record: RequestRecord, now: float) -> None:
    method = record.method if record.method in METHODS else OTHER
    if record.method != RUN:
        counts.add(f.HTTP_REQUESTS, (record.family, method, record.route, str(record.status)))
        counts.observe(f.API_CALL, (method, record.route), now - record.arrived)
    if record.code:
        counts.add(f.ERRORS, (record.family, record.code))
    if record.prompt_tokens:
        counts.add(f.TOKENS_BY_USER, (record.key, record.model, "prompt"), record.prompt_tokens)
    if record.completion_tokens:
        counts.add(f.TOKENS_BY_USER, (record.key, record.model, "completion"), record.completion_tokens)


def observe(app: Flask) -> None:
    """Have an application's requests observed; called when all that may refuse them is registered."""
    app.extensions["in_flight"] = InFlight()
    app.wsgi_app = Observed(app)  # type: ignore[method-assign]  # as Flask's docs have it
    app.before_request(_note_route)
    app.after_request(_tell_id)


def _note_route() -> None:
    """Note what Flask has found out; a path is known by its rule, so that there are as many as there are rules."""
    record: RequestRecord = request.environ[RECORD]
    rule, blueprint = request.url_rule, request.blueprint
    record.route = rule.rule if rule is not None else UNKNOWN_ROUTE
    record.family = blueprint.removesuffix("-short") if blueprint else OTHER
    record.key, record.keeper = auth.key().name, auth.key().keeper
    record.client = request.remote_addr or UNIX


def _tell_id(response: Response) -> Response:
    _note_route()  # again, for what was refused before it was noted
    record: RequestRecord = request.environ[RECORD]
    response.headers["X-Request-Id"] = response.headers["Request-Id"] = record.id
    return response


def name_of(sent: str) -> str:
    """Return the id that a client has sent for its request, or make one."""
    return sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


def _record_of(environ: dict[str, Any]) -> RequestRecord:
    record = RequestRecord(
        id=name_of(environ.get("HTTP_X_REQUEST_ID") or environ.get("HTTP_REQUEST_ID", "")),
        method=environ["REQUEST_METHOD"],
        route=UNKNOWN_ROUTE,
    )
    waited_s = time.monotonic() - getattr(environ.get("gunicorn.socket"), "arrived", record.arrived)
    record.arrived -= waited_s  # in which no thread was free
    record.arrived_at -= waited_s
    return record
