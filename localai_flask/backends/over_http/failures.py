"""What goes wrong between this engine and a server, as errors that a client can read."""

from __future__ import annotations

import httpx2

from localai_flask.backends.over_http.http_thread import Refused
from localai_flask.errors import ApiError, ContextOverflow, InvalidRequest, Overloaded, Unavailable

SAID = 300
"""How many characters of what a server says become part of an error."""


def as_api_error(error: BaseException, server: str, *, limit: int = 0, trained: int = 0) -> ApiError:
    """Return what to tell a client; `server` is how to call the other side, `limit` the context in tokens."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Refused):
        return _refusal(error, server, limit, trained)
    if isinstance(error, httpx2.TimeoutException):
        return Unavailable(f"{server} did not answer in time; try again.")
    if isinstance(error, httpx2.HTTPError):
        return Unavailable(f"{server} cannot be reached, or hung up ({_reason(error)}); try again.")
    return ApiError(f"{server} sent what cannot be read ({type(error).__name__}); see the log.")


def _refusal(error: Refused, server: str, limit: int, trained: int) -> ApiError:
    said = error.said[:SAID].rstrip(".")
    if error.details.get("type") == "exceed_context_size_error":
        asked = int(error.details.get("n_prompt_tokens") or limit)
        return ContextOverflow(asked, int(error.details.get("n_ctx") or limit), trained=trained)
    if error.status in (429, 503):
        return Overloaded(f"{server} has no room for the request now: {said}.", retry_after=error.retry_after or 1.0)
    if error.status in (400, 413, 422):
        return InvalidRequest(f"{server} refuses the request: {said}.")
    if error.status in (401, 403):
        return Unavailable(f"{server} does not accept the key that this server has for it.", retry_after=None)
    if error.status == 404:
        return Unavailable(f"{server} does not have what was asked for: {said}.", retry_after=None)
    return Unavailable(f"{server} failed (HTTP {error.status}): {said}; try again.")


def _reason(error: httpx2.HTTPError) -> str:
    return " ".join(str(error).split())[:SAID] or type(error).__name__
