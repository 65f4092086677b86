"""/metrics: the counts of all models and processes of this server in one scrape, which loads and waits for nothing."""

from __future__ import annotations

import os
import platform

from flask import Response, request

from localai_flask import __version__
from localai_flask.api import current
from localai_flask.api.door.auth import require_all_models
from localai_flask.api.request.parsing import Blueprint
from localai_flask.errors import NotFound
from localai_flask.metrics import families as f
from localai_flask.metrics.exposition import Page, read_folder
from localai_flask.pool.runtime import ENV, Runtime
from localai_flask.store.database import sqlite_path

MANAGER_PATIENCE_S = 0.2
"""How long a scrape waits for a manager that has just started, or hangs."""

bp = Blueprint("metrics", __name__, description="Counts for Prometheus")


@bp.get("/metrics")
@bp.response(200, description="The counts, as Prometheus or OpenMetrics has them.")
@bp.doc(operationId="metrics")
def metrics() -> Response:
    """Return the counts of this server"""
    require_all_models()
    if current.settings().disable_metrics_endpoint:
        raise NotFound("The metrics of this server are switched off; LOCALAI_DISABLE_METRICS_ENDPOINT says so.")
    page = Page()
    counts = current.counts()
    if not counts.is_shared:
        page.add(counts.blocks())
    if ENV in os.environ:
        read_folder(page, Runtime.from_environment().path)
    _add_models(page)
    _add_server(page)
    body, content_type = page.render(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)


def _add_models(page: Page) -> None:
    pool = current.pool()
    for name, state in pool.states(MANAGER_PATIENCE_S).items():
        page.set(f.MODEL_STATE, (name, str(state)), 1)
    for name, info in pool.infos().items():
        if info.memory_bytes:
            page.set(f.MODEL_WEIGHTS, (name,), info.memory_bytes)


def _add_server(page: Page) -> None:
    page.set(f.BUILD, (__version__, platform.python_version()), 1)
    path = sqlite_path(current.settings())
    if path is not None and path.exists():
        page.set(f.STORE_BYTES, (), path.stat().st_size)
