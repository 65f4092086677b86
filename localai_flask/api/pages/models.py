"""The list of models, in OpenAI's shape or in Anthropic's. Nothing is loaded to answer it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.answer.model_status import architecture, status_of, status_of_job
from localai_flask.api.anthropic import shapes as anthropic_shapes
from localai_flask.api.anthropic.errors import VERSION
from localai_flask.api.anthropic.paging import choose_page
from localai_flask.api.door import auth
from localai_flask.api.openai import shapes
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.config import traits
from localai_flask.config.engines.facts import facts
from localai_flask.config.model import ModelConfig
from localai_flask.errors import Unavailable
from localai_flask.gallery.jobs import Job

bp = Blueprint("models", __name__, description="The models that this server has")

LONGEST_PAGE = 1000


@bp.get("/models")
@bp.alias("/models/capabilities", methods=["GET"])
@bp.response(200, openapi.schema(shapes.ModelList))
@bp.doc(operationId="listModels")
def list_models() -> Response:
    """List the models; `reload` looks at the folder anew"""
    if request.args.get("reload"):
        current.registry().refresh()
    usable = [config for name, config in current.registry().models().items() if auth.key().may_use(name)]
    models = sorted([*map(_describer(), usable), *_coming()], key=lambda model: model.id)
    if VERSION in request.headers:
        return json_response(_page([_as_anthropics(model) for model in models]))
    first, last = (models[0].id, models[-1].id) if models else (None, None)
    return json_response(shapes.ModelList(models, first, last))


def _as_anthropics(model: shapes.Model) -> anthropic_shapes.Model:
    length = model.context_length
    return anthropic_shapes.Model(model.id, model.display_name, model.created_at, length, length)


def _page(models: list[anthropic_shapes.Model]) -> anthropic_shapes.ModelList:
    """Return the part of the list that the query asks for: all, unless it has a `limit`."""
    page, has_more = choose_page(models, len(models), LONGEST_PAGE)
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    return anthropic_shapes.ModelList(list(page), first, last, has_more)


@bp.get("/models/<path:model>")
@bp.response(200, openapi.schema(shapes.Model))
@bp.doc(operationId="retrieveModel")
def retrieve_model(model: str) -> Response:
    """Return what is known of one model"""
    registry, key = current.registry(), auth.key()
    listed = registry.models().get(model) if key.may_use(model) else None
    described = _describer()(listed or registry.get(model, key.model_filter))
    return json_response(_as_anthropics(described) if VERSION in request.headers else described)


def _coming() -> list[shapes.Model]:
    """Describe the models whose files are on their way, which llama-server's clients look for at /models alone."""
    if request.path.rstrip("/") != "/models" or VERSION in request.headers or not auth.key().admin:
        return []
    try:
        jobs = current.jobs().list(unfinished_only=True)
    except Unavailable:  # the list of what is here must not depend on a database
        return []
    return [_describe_job(job) for job in {job.wanted: job for job in jobs if job.request is not None}.values()]


def _describe_job(job: Job) -> shapes.Model:
    return shapes.Model(
        id=job.wanted,
        display_name=job.wanted,
        created=int(job.created_at),
        created_at=_written(job.created_at),
        state="downloading",
        context_length=None,
        capabilities=[],
        status=status_of_job(job),
        architecture=architecture(frozenset()),
        backend="",
        size=job.progress.total,
    )


def _describer() -> Callable[[ModelConfig], shapes.Model]:
    """Make what describes a model, as things are now."""
    registry, pool = current.registry(), current.pool()
    states, infos, loading = pool.states(), pool.infos(), pool.load_progress()

    def describe(config: ModelConfig) -> shapes.Model:
        target = registry.target_of(config)
        info = infos.get(target.engine.name)
        able = traits.capabilities(target) if info is None else info.capabilities
        context = traits.context_length(target) if info is None else info.context_length
        state, size = states.get(target.engine.name, "cold"), traits.file_bytes(target)
        modified = _modified(Path(config.source))
        return shapes.Model(
            id=config.name,
            display_name=config.name,
            created=modified,
            created_at=_written(modified),
            state=state,
            context_length=context,
            capabilities=traits.public_words(able),
            status=status_of(state, loading.get(target.engine.name)),
            architecture=architecture(able),
            backend=target.backend,
            size=size,
            given_up=(info and info.given_up) or msgspec.UNSET,
            parent=target.parent or msgspec.UNSET,
            meta=_meta(target, context, size),
            root=", ".join(file for file, _ in target.adapted_by or ()) or msgspec.UNSET,
        )

    return describe


def _meta(config: ModelConfig, context: int | None, size: int | None) -> shapes.ModelMeta | msgspec.UnsetType:
    header = traits.read_header(config.model_path) if facts(config.backend).files == "gguf" else None
    if header is None:
        return msgspec.UNSET
    return shapes.ModelMeta(
        n_ctx=context or 0,
        n_ctx_train=header.trained_context,
        n_embd=header.embedding_length,
        n_vocab=header.vocab_size,
        n_params=header.parameter_count,
        size=size or 0,
    )


def _written(moment: float) -> str:
    return datetime.fromtimestamp(int(moment), UTC).isoformat().replace("+00:00", "Z")


def _modified(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:  # removed since it was listed
        return 0
