"""LocalAI's endpoints about models in memory: load, unload, watch one, and what the whole server holds."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.door.places import take_place, takes_place
from localai_flask.api.localai import system_shapes as shapes
from localai_flask.api.localai.schemas import LoadCall, LoadRequest, UnloadCall, UnloadRequest
from localai_flask.api.pages import openapi
from localai_flask.api.request.body.json_body import decode_json, read_body
from localai_flask.api.request.model_choice import find_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.waiting import Waiting
from localai_flask.api.work.loading import load
from localai_flask.api.work.watch import Watch
from localai_flask.errors import InvalidRequest, NotFound
from localai_flask.pool.protocol import ModelReport

bp = Blueprint("models-in-memory", __name__, description="Which models are loaded")

LOOK_S = 0.1


@bp.post("/backend/load")
@admin_only
@bp.arguments(LoadRequest)
@bp.response(200, openapi.schema(shapes.Loaded), description="The model is loaded.")
@bp.doc(operationId="loadModel")
@takes_place
def load_model(call: LoadCall) -> Response:
    """Load a model"""
    config = find_model(call.model, "chat")
    load(config, Waiting(keep_alive_s=call.keep_alive_s))
    return json_response(shapes.Loaded([config.name]))


@bp.post("/backend/shutdown")
@admin_only
@bp.arguments(UnloadRequest)
@bp.response(200, openapi.schema(shapes.Message), description="The model has left the memory.")
@bp.alt_response(202, description="The model takes no more requests, and ends those that it has.")
@bp.doc(operationId="unloadModel")
def unload_model(call: UnloadCall) -> Response:
    """Unload a model, when its requests have ended or by force"""
    name = find_model(call.model, "chat").engine.name
    if not current.pool().unload(name, by_force=call.force):
        raise NotFound(f"The model {name!r} is not loaded.", param="model")
    place = take_place()
    try:
        has_left = _await_leave(name)
    finally:
        place.release()
    if has_left:
        return json_response(shapes.Message("model stopped"))
    return json_response(shapes.Message("the model stops when its requests have ended; `force` ends them"), 202)


def _await_leave(name: str) -> bool:
    """Wait until a model has no workers, no longer than streams get when the server stops; return whether it has."""
    watch, deadline = Watch(request.environ), time.monotonic() + current.settings().graceful_timeout
    while (found := _find(name)) is not None and any(worker.is_leaving for worker in found.workers):
        watch.check()
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True


@bp.get("/backend/monitor")
@admin_only
@bp.response(200, openapi.schema(shapes.Monitored))
@bp.doc(
    operationId="monitorModel",
    parameters=[openapi.query_parameter("model", "The model's name.")],
)
def monitor_model() -> Response:
    """Return the state of one model, and its memory"""
    config = find_model(_asked_model(), "chat")
    found = _find(config.engine.name)
    return json_response(shapes.Monitored(0, shapes.Memory(0, {})) if found is None else shapes.monitored(found))


@bp.get("/system")
@admin_only
@bp.response(200, openapi.schema(shapes.System))
@bp.doc(operationId="system")
def system() -> Response:
    """List which models are in memory, what they do and take, and the limits"""
    return json_response(shapes.system(current.pool().report()))


def _asked_model() -> str:
    """Return the model that a query names, or the body that LocalAI takes with a GET."""
    name: Any = request.args.get("model")
    if name is None and (body := read_body(request)):
        value = decode_json(body)
        name = value.get("model") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidRequest("Name the model, as in /backend/monitor?model=demo.", param="model")
    return name


def _find(name: str) -> ModelReport | None:
    """Find what is known of a model, as it is or as it was if that still has workers."""
    found = [model for model in current.pool().report().models if model.name == name]
    return max(found, key=lambda model: len(model.workers), default=None)
