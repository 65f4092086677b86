"""The server's door: which requests get a thread to work on a model in, decided before they have any.

A request that is refused here costs a fraction of what it takes the application to parse and to refuse it, so that
refusals come at once also when a thousand requests do. For that, a few requests at a time are looked at until the model
has them; and what a model has refused as it is full is refused here for a moment, without asking it again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from threading import Semaphore
from typing import Any, NamedTuple

import msgspec
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from localai_flask.api import observation
from localai_flask.api.answer.errors import shape_of
from localai_flask.api.door import auth, cors, hosts
from localai_flask.api.door.places import TAKES_PLACE, TAKES_SEAT, Place, Places
from localai_flask.api.door.proxies import Proxied, tidy_path, without_prefix
from localai_flask.api.files.upload import FORM_BYTES, TAKES_UPLOAD
from localai_flask.api.request.body.content_coding import coding_of
from localai_flask.errors import ApiError, ErrorInfo, QueueFull
from localai_flask.keys.watched import WatchedKeys
from localai_flask.metrics.request_record import RequestRecord

TURNS = 4
"""How many requests are looked at together, as more only take the processor from each other."""
FULL_S = 0.1
"""How long a model counts as full that has said so: not longer than nobody would mind to be refused in error."""
MOST_FULL = MOST_PATHS = 1000
MARKS = (TAKES_PLACE, TAKES_SEAT, TAKES_UPLOAD)
CHECKS: tuple[Callable[[], None], ...] = (hosts.require_known_host, auth.require_key, cors.refuse_foreign_pages)
"""What may refuse a request before its body is read, in this order; each raises an `ApiError`."""
CREDENTIALS = frozenset(name.upper() for name in ("Authorization", *auth.KEY_HEADERS))
SHORT = 64 * 1024
"""Bytes of the longest body that is searched for its model's name here."""


class _Named(msgspec.Struct):
    """What of a body says which line it would have to wait in."""

    model: str = ""
    background: bool = False


class Asked(NamedTuple):
    """Requests for which this is the same are refused for the same reason."""

    path: str
    model: str
    background: bool
    credentials: tuple[str, ...]


class Admitted:
    """A request that was let in: its place, its turn to be looked at, and why it was refused after all."""

    def __init__(self, place: Place, rule: Rule, client: str, asked: Asked | None):
        self.place = place
        self.rule = rule
        self.client = client
        self.asked = asked
        self.overload: ErrorInfo | None = None
        self.end_turn: Callable[[], None] | None = None
        """What to call when its turn is over, as long as it has one."""

    def settle(self) -> None:
        """Let another one be looked at, since this one only waits from here on; may be called again."""
        end_turn, self.end_turn = self.end_turn, None
        if end_turn is not None:
            end_turn()

    def release(self) -> None:
        self.place.release()


class Door:
    """Decides about the requests of one web worker: in its main thread, but for `leave`, which each one's own calls.

    `on_turn` is called, in any thread, when another request may be looked at.
    """

    def __init__(self, app: Flask, on_turn: Callable[[], None]):
        self._app = app
        self._on_turn = on_turn
        self._urls = app.url_map.bind("")
        self._turns = Semaphore(TURNS)
        self._rules: dict[tuple[str, str], Rule | None] = {}
        """The rules of what has been asked for, by method and path; None for those without a mark."""
        self._full: dict[Asked, tuple[float, ErrorInfo]] = {}
        """Until when what is asked is refused, and with which words."""
        self._line: Counter[str] = Counter()
        """How many requests wait here to be looked at, by model."""

    def admit(self, request: Any, body: bytes, client: str) -> Admitted | bytes | None:
        """Take a place for one of gunicorn's requests, or return the answer if there is none.

        None is for all that does not work on a model, and for what only the application can refuse.
        """
        rule = self._rule_of(request)
        if rule is None:
            return None
        asked = _asked(request, body)
        if (info := self._known_full(asked)) is not None:
            return self._refuse(request, rule, client, info)
        if asked is not None and (full := self._full_line(asked.model)) is not None:
            return self._refuse(request, rule, client, full.info)
        places: Places = self._app.extensions["places"]
        place = places.try_take()
        if place is None:
            return self._refuse(request, rule, client, places.refusal().info)
        return Admitted(place, rule, client, asked)

    def refuses_unread(self, environ: dict[str, Any]) -> bool:
        """Return whether the application refuses a request whatever its body has in it."""
        proxied: Proxied = self._app.extensions["proxied"]
        proxied.take_over(environ)
        with self._app.request_context(environ) as context:
            try:
                if context.request.routing_exception is not None:
                    return True
                for check in CHECKS:
                    check()
                coding_of(context.request)
            except (ApiError, HTTPException):
                return True
        return False

    def _full_line(self, model: str) -> QueueFull | None:
        """Return the error that a model could not take more than already wait here, before it has refused any."""
        waiting, size = self._line[model], self._app.extensions["settings"].queue_size
        if waiting < size:
            return None
        room = self._app.extensions["pool"]().room(model, size)
        return QueueFull(size) if room is not None and waiting >= room else None

    def join_line(self, admitted: Admitted) -> None:
        """Have a request wait for its turn."""
        if admitted.asked is not None:
            self._line[admitted.asked.model] += 1

    def leave_line(self, admitted: Admitted) -> None:
        if admitted.asked is not None:
            self._line[admitted.asked.model] -= 1
            if not self._line[admitted.asked.model]:
                del self._line[admitted.asked.model]  # names are the clients' to choose

    def take_turn(self, admitted: Admitted) -> bool:
        """Have a request looked at now; return False if as many as may be are looked at already."""
        if not self._turns.acquire(blocking=False):
            return False
        admitted.end_turn = self._end_turn
        return True

    def _end_turn(self) -> None:
        self._turns.release()
        self._on_turn()

    def refuse_late(self, request: Any, admitted: Admitted) -> bytes | None:
        """Return the answer to a request that was let in if its model has said meanwhile that it is full."""
        info = self._known_full(admitted.asked)
        return None if info is None else self._refuse(request, admitted.rule, admitted.client, info)

    def leave(self, admitted: Admitted) -> None:
        """Note what has become of a request."""
        if admitted.overload is not None and admitted.asked is not None:
            if len(self._full) >= MOST_FULL:
                self._full.clear()
            self._full[admitted.asked] = time.monotonic() + FULL_S, admitted.overload
        admitted.settle()

    def _known_full(self, asked: Asked | None) -> ErrorInfo | None:
        until, info = self._full.get(asked, (0.0, None)) if asked is not None else (0.0, None)
        return info if time.monotonic() < until else None

    def _rule_of(self, request: Any) -> Rule | None:
        """Find the rule of a request that needs a place."""
        if any(name == "ORIGIN" for name, _ in request.headers):
            return None  # a page of the web could not read what is said here
        rule = self._match(request)
        return rule if rule is not None and self._has_mark(rule, TAKES_PLACE) else None

    def _match(self, request: Any) -> Rule | None:
        """Find the rule of a request, if it has a mark; behind a prefix too, whoever names that: it allows nothing."""
        prefix = next((value for name, value in request.headers if name == "X-FORWARDED-PREFIX"), "").rstrip("/")
        asked = request.method, without_prefix(request.path, prefix) if prefix else request.path
        if asked not in self._rules:
            if len(self._rules) >= MOST_PATHS:
                self._rules.clear()
            self._rules[asked] = self._find_rule(*asked)
        return self._rules[asked]

    def _find_rule(self, method: str, path: str) -> Rule | None:
        try:
            rule, _ = self._urls.match(tidy_path(path), method, return_rule=True)
        except HTTPException:
            return None
        return rule if any(self._has_mark(rule, mark) for mark in MARKS) else None

    def _has_mark(self, rule: Rule, mark: str) -> bool:
        return hasattr(self._app.view_functions[rule.endpoint], mark)

    def takes_place_later(self, request: Any) -> bool:
        """Return whether a request that is not admitted here takes a place when it runs, or is refused then."""
        rule = self._match(request)
        if rule is None:
            return False
        parameter = getattr(self._app.view_functions[rule.endpoint], TAKES_SEAT, None)
        return self._has_mark(rule, TAKES_PLACE) or (parameter is not None and parameter in request.query)

    def most_bytes(self, request: Any) -> int:
        """Return how long a request's body may be, in bytes."""
        settings = self._app.extensions["settings"]
        rule = self._match(request)
        usual = int(settings.upload_limit) * 2**20
        is_upload = rule is not None and self._has_mark(rule, TAKES_UPLOAD)
        return max(usual, settings.file_limit * 2**20 + FORM_BYTES) if is_upload else usual

    def caller_of(self, request: Any) -> str:
        """Return whose key a request has; "" if it has none, or there are none."""
        keys: WatchedKeys = self._app.extensions["keys"]
        if not keys.required:
            return ""
        headers = dict(request.headers)
        key = auth.find_key(keys, lambda name: auth.text_of(headers.get(name.upper(), "")))
        return "" if key is None else key.name

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
        body = shape_of(self._app, tidy_path(request.path))(info, record.id)
        status = HTTPStatus(info.status)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: {math.ceil(info.retry_after or 1)}\r\n"
            f"X-Request-Id: {record.id}\r\nRequest-Id: {record.id}\r\n"
            f"Connection: {'close' if request.should_close() else 'keep-alive'}\r\n\r\n"
        )
        return head.encode() + body


def _asked(request: Any, body: bytes) -> Asked | None:
    """Return what a request asks, if that is to be seen without much ado."""
    try:
        named = msgspec.json.decode(body, type=_Named) if len(body) <= SHORT else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if named is None:
        return None
    credentials = tuple(value for name, value in request.headers if name in CREDENTIALS)
    return Asked(request.path, named.model, named.background, credentials)
