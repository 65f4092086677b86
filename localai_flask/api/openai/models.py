"""The list of models. Nothing is loaded to answer it."""

from __future__ import annotations

from pathlib import Path

import msgspec
from flask import Response

from localai_flask.api import current, docs
from localai_flask.api.openai import shapes
from localai_flask.api.parsing import Blueprint
from localai_flask.config.model import ModelConfig

bp = Blueprint("models", __name__, description="The models that this server has")


@bp.get("/models")
@bp.response(200, docs.schema(shapes.ModelList))
@bp.doc(operationId="listModels")
def list_models() -> Response:
    """List the models"""
    states = current.pool().states()
    models = [_model(config, states) for config in current.registry().models().values()]
    return _json(shapes.ModelList(sorted(models, key=lambda model: model.id)))


@bp.get("/models/<path:model>")
@bp.response(200, docs.schema(shapes.Model))
@bp.doc(operationId="retrieveModel")
def retrieve_model(model: str) -> Response:
    """Tell about one model"""
    registry = current.registry()
    config = registry.models().get(model) or registry.get(model)
    return _json(_model(config, current.pool().states()))


def _model(config: ModelConfig, states: dict[str, str]) -> shapes.Model:
    state = states.get(config.alias or config.name, "cold")
    return shapes.Model(config.name, _modified(Path(config.source)), state)


def _modified(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:  # removed since it was listed
        return 0


def _json(shape: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(shape), mimetype="application/json")
