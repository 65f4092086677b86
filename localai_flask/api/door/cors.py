"""Which web pages of other origins may call: none, unless the settings say so. Never with credentials.

Pages send keys in headers, which CORS does not count as credentials, and there are no cookies here. A page that may
not call can still send what a browser sends without asking first, and does not see the answer: on a server without keys
that is refused.
"""

from __future__ import annotations

from flask import Response, request

from localai_flask.api import current
from localai_flask.errors import OriginNotAllowed

PREFLIGHT_VALID_S = 600
EXPOSED = "X-Request-Id, Request-Id, Retry-After, X-Should-Retry, X-Tools-Left-Out, X-LocalAI-Fallback"
SAFE = ("GET", "HEAD", "OPTIONS")


def refuse_foreign_pages() -> None:
    """Raise `OriginNotAllowed` if a page of another site, which is not let in, would change something without a key."""
    origin = request.headers.get("Origin", "")
    if current.keys().required or request.method in SAFE or not _is_foreign(origin):
        return
    if not _is_allowed(origin):
        raise OriginNotAllowed(
            f"Pages of {origin or 'other sites'} may not call this server; LOCALAI_CORS_ALLOW_ORIGINS names those that "
            "may."
        )


def add_headers(response: Response) -> Response:
    """Let a browser give the response to a page of an allowed origin, and answer its preflight."""
    if not _allowed():
        return response
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin is None or not _is_allowed(origin):
        return response
    response.headers["Access-Control-Allow-Origin"] = "*" if "*" in _allowed() else origin
    response.headers["Access-Control-Expose-Headers"] = EXPOSED
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "GET, POST")
        response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "*")
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_VALID_S)
    return response


def _is_foreign(origin: str) -> bool:
    """Whether a page of another site asks, as its browser tells; browsers leave it to `Origin` on plain HTTP."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "cross-site"
    own = {request.headers.get(name, "") for name in ("Host", "X-Forwarded-Host")}
    scheme, _, host = origin.partition("://")
    return origin == "null" or (scheme in ("http", "https") and host not in own)  # others are no pages of the web


def _allowed() -> tuple[str, ...]:
    """The origins that are let in; where CORS is on and none is named, all of them."""
    settings = current.settings()
    return settings.cors_allow_origins or (("*",) if settings.cors else ())


def _is_allowed(origin: str) -> bool:
    allowed = _allowed()
    return "*" in allowed or origin in allowed
