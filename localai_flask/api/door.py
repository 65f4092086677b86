"""The server's door: which requests get a thread to work on a model in, decided before they have any.

A request that is refused here costs a fraction of what it takes the application to parse and to refuse it, so that
refusals come at once also when a thousand requests do.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from localai_flask.api import observation
from localai_flask.api.errors import shape_of
from localai_flask.api.limits import TAKES_PLACE, Place, Places
from localai_flask.errors import ErrorInfo
from localai_flask.metrics.request_record import RequestRecord


class Door:
    """Decides about the requests of one web worker; for its main thread."""

    def __init__(self, app: Flask):
        self._app = app
        self._urls = app.url_map.bind("")

    def admit(self, request: Any, client: str) -> Place | bytes | None:
        """Take a place for one of gunicorn's requests, or return the answer if there is none.

        None is for all that does not work on a model, and for what only the application can refuse.
        """
        rule = self._rule_of(request)
        if rule is None:
            return None
        places: Places = self._app.extensions["places"]
        return places.try_take() or self._refuse(request, rule, client, places.refusal().info)

    def _rule_of(self, request: Any) -> Rule | None:
        """Find the rule of a request that needs a place."""
        headers = dict(request.headers)
        if request.method != "POST" or "ORIGIN" in headers:  # a page of the web could not read what is said here
            return None
        try:
            rule, _ = self._urls.match(request.path, request.method, return_rule=True)
        except HTTPException:
            return None
        view = self._app.view_functions[rule.endpoint]
        return rule if getattr(view, TAKES_PLACE, False) else None

    def _refuse(self, request: Any, rule: Rule, client: str, info: ErrorInfo) -> bytes:
        headers = dict(request.headers)
        record = RequestRecord(
            id=observation.name_of(headers.get("X-REQUEST-ID") or headers.get("REQUEST-ID", "")),
            method=request.method,
            client=client,
            route=rule.rule,
            family=rule.endpoint.partition(".")[0].removesuffix("-short"),
            status=info.status,
            code=info.code,
        )
        observation.begin(self._app, record)
        observation.end(self._app, record)
        body = shape_of(self._app, request.path)(info, record.id)
        status = HTTPStatus(info.status)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: {math.ceil(info.retry_after or 1)}\r\n"
            f"X-Request-Id: {record.id}\r\nRequest-Id: {record.id}\r\n"
            f"Connection: {'close' if request.should_close() else 'keep-alive'}\r\n\r\n"
        )
        return head.encode() + body
