"""Ollama's lists and descriptions of models: nothing is loaded to answer them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import marshmallow
from flask import Response
from marshmallow import ValidationError
from msgspec import UNSET

from localai_flask.api import current
from localai_flask.api.answer import model_traits
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door import auth
from localai_flask.api.ollama import shapes
from localai_flask.api.ollama.errors import DOCUMENTED
from localai_flask.api.ollama.models import details
from localai_flask.api.ollama.models.names import tagged
from localai_flask.api.ollama.render import written
from localai_flask.api.pages import openapi
from localai_flask.api.request.fields import Flag, Noted, RequestSchema, Text, not_empty
from localai_flask.api.request.parsing import Blueprint
from localai_flask.config import traits
from localai_flask.config.model import ModelConfig
from localai_flask.gallery.models import records
from localai_flask.generation import ModelInfo
from localai_flask.pool.protocol import ModelReport

bp = Blueprint("ollama-models", __name__, description="Models, as Ollama lists them")

SPOKEN = "0.40.0"
"""The version of Ollama whose API this is: some clients ask for one that is not older than theirs."""
FOR_EVER_S = 100 * 365 * 86400.0
"""What stands for a model that nothing unloads: the API has no word for it, and Ollama has such a date too."""


@dataclass(frozen=True, slots=True)
class NamedCall:
    model: str
    verbose: bool = False


class NamedRequest(RequestSchema):
    """A request about one model; `name` is an older word for it."""

    model = Text(validate=not_empty())
    name = Text(validate=not_empty(), metadata={"description": "The older word for `model`."})

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> NamedCall:
        model = data.get("model") or data.get("name")
        if model is None:
            raise ValidationError({"model": ["is required."]})
        return NamedCall(model, data.get("verbose", False))


class ShowRequest(NamedRequest):
    verbose = Flag(load_default=False, metadata={"description": "With lists such as the vocabulary."})
    system = Noted("is for answers.")
    template = Noted("is for answers.")
    options = Noted("is for answers.")


@bp.get("/api/version")
@bp.response(200, openapi.schema(shapes.Version))
@bp.doc(operationId="ollamaVersion")
def version() -> Response:
    """Return the version of Ollama whose API is spoken"""
    return json_response(shapes.Version(SPOKEN))


@bp.get("/api/tags")
@bp.response(200, openapi.schema(shapes.ModelList))
@bp.doc(operationId="ollamaTags", responses=DOCUMENTED)
def list_tags() -> Response:
    """List the models, the newest first, as Ollama does"""
    found = dict(_usable())
    sums = details.digests_of({config.name: config for config in found.values()}.values())
    listed = [_listed(name, config, sums[config.name]) for name, config in found.items()]
    return json_response(shapes.ModelList(sorted(listed, key=lambda model: model.modified_at, reverse=True)))


@bp.get("/api/ps")
@bp.response(200, openapi.schema(shapes.RunningList))
@bp.doc(operationId="ollamaPs", responses=DOCUMENTED)
def list_running() -> Response:
    """List the models that are loaded, as Ollama does"""
    found = {config.engine.name: config for name, config in _usable() if config.engine.name == name}
    reports = {report.name: report for report in current.pool().report().models if _is_loaded(report)}
    running = [(config, reports[name]) for name, config in found.items() if name in reports]
    sums, infos = details.digests_of([config for config, _ in running]), current.pool().infos()
    told = [_running(*each, sums[each[0].name], infos.get(each[0].name)) for each in running]
    return json_response(shapes.RunningList(told))


@bp.post("/api/show")
@bp.arguments(ShowRequest)
@bp.response(200, openapi.schema(shapes.Shown))
@bp.doc(operationId="ollamaShow", responses=DOCUMENTED)
def show(call: NamedCall) -> Response:
    """Return what is known of one model, as Ollama does"""
    config = current.registry().get(call.model, auth.key().model_filter)
    record = records.read(current.settings().models_path, config.name)
    return json_response(
        shapes.Shown(
            modelfile=details.modelfile(config),
            parameters="\n".join(f"{name:<30} {value}" for name, value in details.parameters(config)),
            template=model_traits.template(config),
            details=details.details(config),
            model_info=details.model_info(config, with_lists=call.verbose),
            capabilities=details.capabilities(config),
            modified_at=written(details.modified_at(config)),
            license=(record and record.license) or UNSET,
            system=config.system_prompt or UNSET,
        )
    )


def _usable() -> Iterator[tuple[str, ModelConfig]]:
    """Yield the models that the caller may use, by their names; an alias with what it stands for."""
    registry, key = current.registry(), auth.key()
    for name, config in registry.models().items():
        target = registry.target_of(config)
        if not target.alias and key.may_use(name) and not (config.disabled or target.disabled):
            yield name, target


def _listed(name: str, config: ModelConfig, digest: str) -> shapes.ListedModel:
    return shapes.ListedModel(
        name=tagged(name),
        model=tagged(name),
        modified_at=written(details.modified_at(config)),
        size=traits.file_bytes(config) or 0,
        digest=digest,
        details=details.details(config),
        capabilities=details.capabilities(config),
    )


def _is_loaded(report: ModelReport) -> bool:
    return any(worker.is_ready and not worker.is_leaving for worker in report.workers)


def _running(config: ModelConfig, report: ModelReport, digest: str, info: ModelInfo | None) -> shapes.RunningModel:
    count = sum(worker.is_ready for worker in report.workers)
    on_gpus = info.gpu_bytes * count if info is not None else 0
    left_s = FOR_EVER_S if report.expires_s is None else report.expires_s
    return shapes.RunningModel(
        name=tagged(config.name),
        model=tagged(config.name),
        # Clients show the share of the GPUs; what else of a process lies in memory there is none of the model's.
        size=max(info.memory_bytes * count, on_gpus) if info is not None and on_gpus else report.memory_bytes,
        digest=digest,
        details=details.details(config),
        expires_at=written(time.time() + left_s),
        size_vram=on_gpus,
        context_length=model_traits.context_length(config) or 0,
    )
