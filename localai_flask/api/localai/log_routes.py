"""LocalAI's endpoints about what the workers of a model have said, also of one that could not be loaded."""

from __future__ import annotations

from flask import Response

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.query import whole_number
from localai_flask.pool.model_logs import LogLine, ModelLogs
from localai_flask.pool.runtime import Runtime

bp = Blueprint("logs", __name__, description="What models' workers log")

LINES, MOST_LINES = 1000, 10_000
QUERY = openapi.query_parameter("lines", "How many of the last lines.", type="integer", minimum=1, maximum=MOST_LINES)


@bp.get("/api/backend-logs")
@bp.response(200, openapi.schema_of_list(str), description="The models that have a log.")
@bp.doc(operationId="listLogs")
@admin_only
def list_logs() -> Response:
    """List the models whose workers have said something"""
    return json_response(_logs().names())


@bp.get("/api/backend-logs/<path:model>")
@bp.alias("/backend/logs/<path:model>", methods=["GET"])
@bp.response(200, openapi.schema_of_list(LogLine), description="The last lines, the oldest first.")
@bp.doc(operationId="readLog", parameters=[QUERY])
@admin_only
def read_log(model: str) -> Response:
    """Return the last lines that a model's workers have logged or printed"""
    lines = whole_number("lines", LINES, 1, MOST_LINES)
    return json_response(_logs().read(_known(model), lines))


@bp.post("/api/backend-logs/<path:model>/clear")
@bp.response(204, description="The log is empty.")
@bp.doc(operationId="clearLog")
@admin_only
def clear_log(model: str) -> Response:
    """Empty a model's log"""
    _logs().clear(_known(model))
    return Response(status=204)


def _known(name: str) -> str:
    """Return the name of a model that has a log, or could have one.

    Raises `ModelNotFound` for any other, and what is wrong with a model for which no worker is ever started.
    """
    if _logs().path(name).exists():
        return name
    config = current.registry().get(name)
    return config.name


def _logs() -> ModelLogs:
    return ModelLogs(Runtime.from_environment().path)
