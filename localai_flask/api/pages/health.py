"""Whether the server lives, whether it can serve, and what it is. Needs no place and waits for no model load."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, jsonify, request

from localai_flask import __version__
from localai_flask.address import OLLAMA_PORT
from localai_flask.api import current
from localai_flask.api.pages import web_page
from localai_flask.api.request.parsing import Blueprint

CHECK_S = 0.8
"""What the round trips may take together, so that a probe is answered within a second."""

OLLAMA_RUNS = "Ollama is running"
"""What programs look for that ask at Ollama's port whether it is there."""

bp = Blueprint("server", __name__, description="The server itself")


@bp.get("/healthz")
@bp.alias("/health", methods=["GET"])
@bp.response(200, description="The process runs.")
@bp.doc(operationId="health")
def healthz() -> dict[str, Any]:
    """Return that the process runs"""
    return {"status": "ok"}


@bp.get("/readyz")
@bp.response(
    200, description="Every model that must be loaded answers, and so does the database that the settings name."
)
@bp.alt_response(503, description="Something is not there yet, or no longer; the message names it.")
@bp.doc(operationId="readiness")
def readyz() -> dict[str, Any]:
    """Return whether a round trip through the pool, and one to the database, works"""
    begun = time.monotonic()
    if current.settings().database_url:
        current.store_probe().check(CHECK_S / 2)
    current.pool().check(CHECK_S - (time.monotonic() - begun))
    return {"status": "ready"}


@bp.get("/version")
@bp.response(200, description="The version.")
@bp.doc(operationId="version")
def version() -> dict[str, Any]:
    """Return the version"""
    return {"version": __version__}


@bp.get("/")
@bp.response(
    200, description="Name, version and where to go from here; for browsers a page to chat and to look after it."
)
@bp.doc(operationId="index")
def index() -> Response:
    """Return what this is"""
    if web_page.is_asked() and not current.settings().disable_webui:
        return web_page.index()
    if request.host.endswith(f":{OLLAMA_PORT}"):
        return Response(OLLAMA_RUNS, headers={"Vary": "Accept"}, mimetype="text/plain")
    paths = {"models": "/v1/models", "documentation": "/swagger/", "health": "/healthz", "readiness": "/readyz"}
    links = {name: request.script_root + path for name, path in paths.items()}
    response = jsonify({"name": "localai-flask", "version": __version__, "links": links})
    response.vary.add("Accept")
    return response
