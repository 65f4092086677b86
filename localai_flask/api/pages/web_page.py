"""The page at `/`, for browsers: its files, and what it may do. It has no data; it asks for that with a key."""

from __future__ import annotations

from flask import Response, request

from localai_flask.api import current
from localai_flask.api.pages import web_files
from localai_flask.errors import NotFound

PREFIX = "/web"
INDEX = "index.html"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)
"""What a browser lets the page do: run its own files, talk to its own server, and never make a script of a text."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_asked() -> bool:
    """Return whether the request wants the page; clients of the API, which take anything, get JSON at `/`."""
    return request.method in ("GET", "HEAD") and any(kind == "text/html" for kind, _ in request.accept_mimetypes)


def is_file(path: str) -> bool:
    """Return whether a path is one of the page's files, which everybody may have: they hold no secret."""
    return path.startswith(f"{PREFIX}/")


def index() -> Response:
    """Return the page, with the addresses of its files below the path by which clients know this server."""
    text = web_files.files()[INDEX].body.decode()
    text = text.replace("{files}", f"{request.script_root}{PREFIX}/{web_files.version()}")
    page = web_files.WebFile.make(INDEX, text.replace("{root}", request.script_root).encode())
    response = page.respond("no-cache")
    response.headers.update(HEADERS)
    response.vary.add("Accept")
    return response


def file(version: str, name: str) -> Response:
    """Return one of the page's files; to be kept for ever only under the version that it has."""
    found = web_files.files().get(name)
    if found is None or name == INDEX or current.settings().disable_webui:
        raise NotFound(f"The page has no file {name}.")
    response = found.respond(web_files.FOREVER if version == web_files.version() else "no-cache")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
