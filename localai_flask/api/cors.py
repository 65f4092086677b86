"""Which web pages of other origins may call: none, unless they are named in the settings. Never with credentials."""

from __future__ import annotations

from flask import Response, request

from localai_flask.api import current

PREFLIGHT_VALID_S = 600


def add_headers(response: Response) -> Response:
    """Let a browser give the response to a page of an allowed origin, and answer its preflight."""
    allowed = current.settings().cors_allow_origins
    origin = request.headers.get("Origin")
    if not allowed:
        return response
    response.vary.add("Origin")
    if origin is None or ("*" not in allowed and origin not in allowed):
        return response
    response.headers["Access-Control-Allow-Origin"] = "*" if "*" in allowed else origin
    response.headers["Access-Control-Expose-Headers"] = "X-Request-Id, Request-Id, Retry-After"
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "GET, POST")
        response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "*")
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_VALID_S)
    return response
