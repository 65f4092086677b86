"""Tools that llama-server may run for its web page: of this server's own there are none, and the page is told so."""

from __future__ import annotations

from typing import NoReturn

from localai_flask.api.request.parsing import Blueprint
from localai_flask.errors import FeatureDisabled

bp = Blueprint("tools", __name__, description="Tools that llama-server runs")

NONE = "This server runs no tools itself: send them with a request, and run what its answer calls."


@bp.get("/tools")
@bp.doc(operationId="listServerTools")
def list_tools() -> NoReturn:
    """Refused: there are none"""
    raise FeatureDisabled(NONE)


@bp.post("/tools")
@bp.doc(operationId="runServerTool")
def run_tool() -> NoReturn:
    """Refused: there are none"""
    raise FeatureDisabled(NONE)
