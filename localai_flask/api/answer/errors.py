"""Every error to a response: ours, HTTP's own, and the unexpected.

They have OpenAI's shape, but under the paths of an API family that has another one: also where no view was found.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Container, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from localai_flask.api import current
from localai_flask.api.answer.family_words import CHAT
from localai_flask.api.work.watch import ClientLeft
from localai_flask.errors import ApiError, ErrorInfo, LoadCrashed, Overloaded, ServerConfigError

log = logging.getLogger("gunicorn.error")

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left; nobody reads it but the access log."""
MISTAKE = "The server made a mistake; its log has the details."

LASTING = (LoadCrashed.code, ServerConfigError.code)
"""The codes of server errors that a client's next try would meet again."""

KEPT_HEADERS = ("Accept-Encoding", "Allow", "Retry-After")
"""What of HTTP's own errors an answer keeps."""
CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
    500: "internal_error",
}


class ErrorBody(msgspec.Struct):
    """What went wrong, for programs (`code`), and for people (`message`).

    Of a prompt that does not fit, the tokens that it has and those that a request may have, as llama-server names them.
    """

    message: str
    type: str
    param: str | None
    code: str
    n_prompt_tokens: int | msgspec.UnsetType = msgspec.UNSET
    n_ctx: int | msgspec.UnsetType = msgspec.UNSET


class ErrorResponse(msgspec.Struct):
    error: ErrorBody


def encode_error(info: ErrorInfo) -> bytes:
    """Render an error as the JSON of OpenAI's API."""
    body = ErrorBody(info.message, info.type, info.param, info.code, **token_counts(info))
    return msgspec.json.encode(ErrorResponse(body))


def token_counts(info: ErrorInfo) -> dict[str, int]:
    """Return what errors of all families tell by these names of a prompt that does not fit; nothing of other errors."""
    return {"n_prompt_tokens": info.asked, "n_ctx": info.limit} if info.asked else {}


Shape = Callable[[ErrorInfo, str], bytes]
"""Renders an error, for a request of that id."""


def register(app: Flask, shapes: Mapping[tuple[str, str], Shape]) -> None:
    """Make the application answer every error; `shapes` has what marks a request of a family with its own.

    A mark is a prefix of paths, and the name of a header if one is needed.
    """
    app.extensions["error_shapes"] = shapes
    app.register_error_handler(ApiError, _on_api_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(ClientLeft, _on_client_left)
    app.register_error_handler(Exception, _on_mistake)


def _on_api_error(error: ApiError) -> Response:
    if error.info.status >= 500:
        log.warning("%s: %s", _request_line(), error)
    return error_response(error.info)


def error_response(info: ErrorInfo, headers: dict[str, str] | None = None) -> Response:
    """Make the response for an error, with the headers that its status asks for."""
    current.record().code = info.code
    admitted = getattr(request.environ.get("gunicorn.socket"), "admitted", None)
    if admitted is not None and info.code == Overloaded.code:
        admitted.overload = info
    headers = dict(headers or {})
    if info.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(info.retry_after))
    if info.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if info.status >= 500 and info.code in LASTING:
        headers["X-Should-Retry"] = "false"  # no standard, but the official clients heed it
    names = {name.lower() for name in request.headers.keys()}  # noqa: SIM118
    body = shape_of(current_app, request.path, names)(info, current.record().id)
    return Response(body, info.status, headers, mimetype="application/json")


def shape_of(app: Flask, path: str, headers: Container[str] = ()) -> Shape:
    """Return how errors are rendered under a path, for a request with such headers."""
    shapes: Mapping[tuple[str, str], Shape] = app.extensions["error_shapes"]
    path = path.rstrip("/") + "/"
    for (prefix, header), shape in shapes.items():
        if path.startswith(f"{prefix}/") and (not header or header in headers):
            return shape
    return _encode_plainly


def _encode_plainly(info: ErrorInfo, _: str) -> bytes:
    return encode_error(info)


def _on_http_error(error: HTTPException) -> Any:
    status = error.code or 500
    kept = {name: value for name, value in error.get_headers() if name in KEPT_HEADERS}
    return error_response(ErrorInfo(status, CHAT.error(status), CODES.get(status, "http_error"), _explain(error)), kept)


def _explain(error: HTTPException) -> str:
    here = f"{request.method} {request.path}"
    if isinstance(error, MethodNotAllowed):
        return f"{here} is not allowed; use {', '.join(sorted(error.valid_methods or ()))}."
    if isinstance(error, RequestEntityTooLarge):
        limit = (request.max_content_length or 0) // 2**20
        return f"The body is larger than {limit} MB; send less, or raise LOCALAI_UPLOAD_LIMIT."
    if error.code == 404:
        return f"There is nothing at {here}; /swagger/ lists what there is."
    if (error.code or 500) >= 500:
        return MISTAKE
    return error.description or error.name


def _on_client_left(_: ClientLeft) -> Response:
    log.info("%s: the client left before the answer", _request_line())
    return Response(status=CLIENT_CLOSED_REQUEST)


def _on_mistake(error: Exception) -> Response:
    """Answer for what nobody expected; the HTTP boundary."""
    log.error("%s failed", _request_line(), exc_info=error)
    return error_response(ErrorInfo(500, "server_error", "internal_error", MISTAKE))


def _request_line() -> str:
    """Name a request in the log: on one line, whatever its path decodes to, and without its query."""
    return f"{request.method} {quote(request.path)} [{current.record().id}]"
