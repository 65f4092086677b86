"""The list of models. Nothing is loaded to answer it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from flask import Response

from localai_flask.api import auth, current, docs
from localai_flask.api.openai import shapes
from localai_flask.api.parsing import Blueprint
from localai_flask.config import facts
from localai_flask.config.model import ModelConfig

bp = Blueprint("models", __name__, description="The models that this server has")

PUBLIC = {
    "generate": ("chat", "completion", "edit"),
    "embed": ("embeddings",),
    "score": ("rerank",),
    "constrain": ("structured_output",),
    "image": ("vision",),
}
"""An engine's word for what it can do, and ours for what comes with it; others are the same."""


@bp.get("/models")
@bp.alias("/models/capabilities", methods=["GET"])
@bp.response(200, docs.schema(shapes.ModelList))
@bp.doc(operationId="listModels")
def list_models() -> Response:
    """List the models"""
    describe = _describer()
    usable = [config for name, config in current.registry().models().items() if auth.key().may_use(name)]
    models = sorted(map(describe, usable), key=lambda model: model.id)
    first, last = (models[0].id, models[-1].id) if models else (None, None)
    return _json(shapes.ModelList(models, first, last))


@bp.get("/models/<path:model>")
@bp.response(200, docs.schema(shapes.Model))
@bp.doc(operationId="retrieveModel")
def retrieve_model(model: str) -> Response:
    """Return what is known of one model"""
    registry, key = current.registry(), auth.key()
    listed = registry.models().get(model) if key.may_use(model) else None
    return _json(_describer()(listed or registry.get(model, key.model_filter)))


def _describer() -> Callable[[ModelConfig], shapes.Model]:
    """Make what describes a model, as things are now."""
    models, pool = current.registry().models(), current.pool()
    states, infos = pool.states(), pool.infos()

    def describe(config: ModelConfig) -> shapes.Model:
        target = models.get(config.alias, config) if config.alias else config
        info = infos.get(target.engine.name)
        able = facts.capabilities(target) if info is None else info.capabilities
        modified = _modified(Path(config.source))
        return shapes.Model(
            id=config.name,
            display_name=config.name,
            created=modified,
            created_at=datetime.fromtimestamp(modified, UTC).isoformat().replace("+00:00", "Z"),
            state=states.get(target.engine.name, "cold"),
            context_length=facts.context_length(target) if info is None else info.context_length,
            capabilities=sorted(word for each in able for word in PUBLIC.get(each, (each,))),
            given_up=(info and info.given_up) or msgspec.UNSET,
        )

    return describe


def _modified(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:  # removed since it was listed
        return 0


def _json(shape: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(shape), mimetype="application/json")
