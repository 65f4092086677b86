"""gunicorn's worker with threads, whose own refusals of what is no proper HTTP are JSON like every other error.

Knows no route: what cannot be parsed has no path, so these have OpenAI's shape.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.ForbiddenProxyRequest: HTTPStatus.FORBIDDEN,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}
"""Other mistakes of the client are a 400."""
OURS = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)


class Worker(ThreadWorker):  # type: ignore[misc]
    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that gunicorn could not read; its own page serves for everything else."""
        if not isinstance(exc, errors.ParseException) or isinstance(exc, OURS):
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("refused what is no proper HTTP: %s", exc)
        status = STATUSES.get(type(exc), HTTPStatus.BAD_REQUEST)
        try:
            util.write_nonblock(client, _response(status, f"The request is no proper HTTP: {exc}."))
        except OSError as error:
            self.log.debug("the refusal could not be sent: %s", error)


def _response(status: HTTPStatus, message: str) -> bytes:
    from localai_flask.api.errors import encode_error  # the arbiter imports this module, and needs no Flask
    from localai_flask.errors import ErrorInfo

    body = encode_error(ErrorInfo(status, "invalid_request_error", "invalid_http", message))
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
