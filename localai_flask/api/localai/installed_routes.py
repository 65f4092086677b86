"""What is in the models folder, usable or not, with what each model will take of the memory: for operators."""

from __future__ import annotations

from pathlib import Path

import msgspec
from flask import Response

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.config import traits
from localai_flask.config.files.listing import is_yaml
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError
from localai_flask.pool.memory_need import estimate_need

bp = Blueprint("installed-models", __name__, description="What is in the models folder")


class InstalledModel(msgspec.Struct):
    """A model, or why there is none; `engine_name` is what it is called where models in memory are listed.

    `problem` is what makes its YAML unusable, `fault` what keeps its file from being loaded as it lies there now.

    `size` and `memory_expected` are in bytes, 0 if unknown; of those that share another's worker, as aliases and
    variants do, they are that one's.
    """

    name: str
    engine_name: str
    file: str
    has_yaml: bool
    backend: str = ""
    description: str = ""
    alias: str = ""
    variant_of: str = ""
    parent: str = ""
    disabled: bool = False
    size: int = 0
    memory_expected: int = 0
    context_length: int | None = None
    capabilities: list[str] = []
    problem: str | None = None
    fault: str | None = None


@bp.get("/api/models/installed")
@admin_only
@bp.response(200, openapi.schema_of_list(InstalledModel))
@bp.doc(operationId="listInstalledModels")
def list_installed() -> Response:
    """List what is in the models folder, and what is wrong with any"""
    registry = current.registry()
    models = registry.models()
    found = [_describe(config, registry.target_of(config)) for config in models.values()]
    found += [_describe_problem(name, problem) for name, problem in registry.problems().items() if name not in models]
    return json_response(sorted(found, key=lambda each: each.name))


def _describe(config: ModelConfig, target: ModelConfig) -> InstalledModel:
    able = traits.capabilities(target)
    source = Path(config.source)
    return InstalledModel(
        name=config.name,
        engine_name=target.engine.name,
        file=source.name,
        has_yaml=is_yaml(source),
        backend=target.backend,
        description=config.description,
        alias=config.alias,
        variant_of=config.variant_of,
        parent=config.parent,
        disabled=config.disabled or target.disabled,
        size=traits.file_bytes(target) or 0,
        memory_expected=estimate_need(target),
        context_length=traits.context_length(target),
        capabilities=traits.public_words(able),
        fault=str(error) if (error := traits.find_file_fault(target)) else None,
    )


def _describe_problem(name: str, problem: ConfigError) -> InstalledModel:
    return InstalledModel(name=name, engine_name=name, file="", has_yaml=True, problem=str(problem))
