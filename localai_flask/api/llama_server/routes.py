"""Load, unload, download and delete models, and watch them, as llama-server's router has it; on our own jobs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from contextlib import ExitStack

import msgspec
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.answer.sse import stream_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.llama_server.events import ModelEvents
from localai_flask.api.localai.folder_routes import remove
from localai_flask.api.localai.gallery_routes import start_job
from localai_flask.api.localai.gallery_schemas import ModelCall, ModelRequest
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import find_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.config import references
from localai_flask.errors import ApiError, InvalidRequest, Overloaded
from localai_flask.gallery.models.request import InstallRequest
from localai_flask.pool.client.inbox import BEAT_S
from localai_flask.pool.client.session import Session

bp = Blueprint("llama-server", __name__, description="Models as llama-server's router manages them")
log = logging.getLogger("gunicorn.error")

MOST_LOADS = 16
"""Models that one process has loaded for whoever does not wait."""
_loads = threading.BoundedSemaphore(MOST_LOADS)
MODEL = openapi.query_parameter("model", "The model's name.") | {"required": True}


class Success(msgspec.Struct):
    success: bool = True


@bp.post("/models/load")
@bp.arguments(ModelRequest)
@bp.response(200, openapi.schema(Success), description="The model is being loaded; /models tells how far it is.")
@bp.doc(operationId="startLoading")
def start_loading(call: ModelCall) -> Response:
    """Have a model loaded, as any request for it would, without waiting for it but for a moment, in which some fail"""
    config = find_model(call.model, "chat")
    if not _loads.acquire(blocking=False):
        raise Overloaded(f"{MOST_LOADS} models are being loaded already; try again later.")
    with ExitStack() as loading:
        loading.callback(_loads.release)
        session = current.pool().session(config)
        waits = session.wait_ready(BEAT_S)
        next(waits, None)  # one that has just failed is not tried again, so that no event would ever tell of it
        rest = session, waits, config.name, loading.pop_all()
        threading.Thread(target=_load, args=rest, name=f"load-{config.name}", daemon=True).start()
    return json_response(Success())


def _load(session: Session, waits: Iterable[object], name: str, loading: ExitStack) -> None:
    """Wait for a model, as nobody loads what no request waits for."""
    with loading:
        try:
            for _ in waits:
                pass
            session.leave()
        except ApiError as error:
            log.warning("model %s was not loaded: %s", name, error)


@bp.post("/models/unload")
@admin_only
@bp.arguments(ModelRequest)
@bp.response(200, openapi.schema(Success), description="The model leaves when its requests have ended.")
@bp.doc(operationId="startUnloading")
def start_unloading(call: ModelCall) -> Response:
    """Have a model leave the memory, or give its download up"""
    if cancel_downloads(call.model):
        return json_response(Success())
    config = find_model(call.model, "chat")
    if not current.pool().unload(config.engine.name, by_force=False):
        raise InvalidRequest(f"The model {call.model!r} is not loaded.", param="model")
    return json_response(Success())


@bp.post("/models")
@admin_only
@bp.arguments(ModelRequest)
@bp.response(200, openapi.schema(Success), description="The model is being fetched; /models/sse tells how far it is.")
@bp.doc(operationId="downloadModel")
def download_model(call: ModelCall) -> Response:
    """Fetch a model of a gallery, or of an address such as `owner/repo:Q4_K_M`"""
    if current.registry().is_model(call.model):
        raise InvalidRequest(f"The model {call.model!r} is there already.", param="model")
    # Named as if a request had asked for it, so that it can then be asked for as it was here.
    name = references.stored_name(call.model) if "/" in call.model else ""
    start_job(InstallRequest(id=call.model, name=name))
    return json_response(Success())


@bp.route("/models", methods=["DELETE"])
@bp.response(200, openapi.schema(Success))
@bp.doc(operationId="removeModel", parameters=[MODEL])
@admin_only
def remove_model() -> Response:
    """Delete a model, and its files that no other model uses"""
    name = request.args.get("model", "")
    if not name:
        raise InvalidRequest("Name the model, as in DELETE /models?model=demo.", param="model")
    if cancel_downloads(name):
        return json_response(Success())
    remove(name)
    return json_response(Success())


@bp.get("/models/sse")
@bp.doc(
    operationId="watchModels",
    responses={"200": {"description": "Events.", "content": {"text/event-stream": {"schema": openapi.EVENT}}}},
)
def watch_models() -> Response:
    """Watch the models that the key may use: what is loaded, installed and deleted, as server-sent events"""
    return stream_response(ModelEvents(request.environ, current.jobs()))


def cancel_downloads(name: str) -> bool:
    """Cancel the downloads of a name, be it what was asked for or what the model is called; return whether any was."""
    found = [job for job in current.jobs().list(unfinished_only=True) if name in (job.name, job.wanted)]
    for job in found:
        current.jobs().cancel(job.id)
    return bool(found)
