"""Configurations over HTTP: what a model is served with, one key changed, and the schema that editors read."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.pages import openapi
from localai_flask.api.request.body.json_body import decode_json, read_body
from localai_flask.api.request.parsing import Blueprint
from localai_flask.config.editor import change_model
from localai_flask.config.effective import EffectiveKey, effective_keys
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml.json_schema import json_schema
from localai_flask.config.model_yaml.schema import FILLED_IN
from localai_flask.errors import InvalidRequest

bp = Blueprint("model-configurations", __name__, description="What models are served with")

BODY = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}


class EffectiveConfig(msgspec.Struct):
    """All keys that decide how a model is served, with where each value comes from."""

    model: str
    source: str
    keys: list[EffectiveKey]


class Changed(msgspec.Struct):
    """The configuration as it is now; `needs_load` if the model is loaded anew for it, once its requests have ended."""

    config: dict[str, Any]
    warnings: list[str]
    needs_load: bool


@bp.get("/models/schema.json")
@bp.response(200, {"type": "object"}, description="JSON Schema, draft 2020-12.")
@bp.doc(operationId="modelSchema")
def schema() -> Response:
    """Return the JSON Schema of a model's YAML, for editors"""
    return json_response(json_schema())


@bp.get("/api/models/config-json/<path:model>")
@admin_only
@bp.response(200, {"type": "object"}, description="The keys that are not as they are by default.")
@bp.doc(operationId="modelConfig")
def show_config(model: str) -> Response:
    """Return the configuration of a model"""
    return json_response(_shown(current.registry().look_up(model)))


@bp.get("/api/models/config-effective/<path:model>")
@admin_only
@bp.response(200, openapi.schema(EffectiveConfig))
@bp.doc(operationId="effectiveModelConfig")
def show_effective_config(model: str) -> Response:
    """Return with what a model is served, and where each value comes from"""
    config = current.registry().look_up(model)
    keys = effective_keys(config, current.settings())
    return json_response(EffectiveConfig(config.name, config.source, keys))


@bp.route("/api/models/config-json/<path:model>", methods=["PATCH"])
@admin_only
@bp.response(200, openapi.schema(Changed), description="The change is written and holds.")
@bp.doc(operationId="changeModelConfig", requestBody=BODY)
def change_config(model: str) -> Response:
    """Change keys of a model's YAML: mappings are merged, null takes a key away"""
    changes = decode_json(read_body(request))
    if not isinstance(changes, dict) or not changes:
        raise InvalidRequest('Send the keys to change, as in {"parameters": {"temperature": 0.2}}.')
    registry = current.registry()
    registry.refresh()  # another web worker may have given a bare file its YAML, or deleted the model
    edited = change_model(registry, registry.look_up(model), changes)
    return json_response(Changed(_shown(edited.config), [each.text for each in edited.warnings], edited.needs_load))


def _shown(config: ModelConfig) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(config).items() if key not in FILLED_IN and value != {}}
