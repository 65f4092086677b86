"""What is answered before there is a request that the application could answer: errors as JSON, in OpenAI's shape."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors

log = logging.getLogger("gunicorn.error")

STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.ForbiddenProxyRequest: HTTPStatus.FORBIDDEN,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}
"""Other mistakes of the client are a 400."""
MALFORMED, MISTAKE = "invalid_http", "internal_error"
OURS = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)


def is_clients_mistake(error: Exception) -> bool:
    return isinstance(error, errors.ParseException) and not isinstance(error, OURS)


def refuse_malformed(exc: Exception) -> bytes:
    """Render the answer to what is no proper HTTP."""
    log.warning("refused what is no proper HTTP: %s", type(exc).__name__)  # the rest may be part of a key or a prompt
    return render(status_of(exc), MALFORMED, f"The request is no proper HTTP: {exc}.")


def status_of(exc: Exception) -> HTTPStatus:
    """Return the status that a client's mistake is answered with."""
    return STATUSES.get(type(exc), HTTPStatus.BAD_REQUEST)


def admit_mistake(request: Any, exc: Exception) -> bytes:
    """Render the answer where the server has failed; the log has no query, in which some clients send keys."""
    from localai_flask.api.answer.errors import MISTAKE as SENTENCE

    line = f"{request.method} {request.path}" if request is not None else "a request"
    log.error("%s failed", line, exc_info=exc)
    return render(HTTPStatus.INTERNAL_SERVER_ERROR, MISTAKE, SENTENCE)


def render(status: HTTPStatus, code: str, message: str) -> bytes:
    """Render a response that is the connection's last one."""
    # The arbiter imports this module, and needs no Flask.
    from localai_flask.api.answer.errors import encode_error
    from localai_flask.api.answer.family_words import CHAT
    from localai_flask.errors import ErrorInfo

    body = encode_error(ErrorInfo(status, CHAT.error(status), code, message))
    retry = "Retry-After: 1\r\n" if status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"{retry}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
