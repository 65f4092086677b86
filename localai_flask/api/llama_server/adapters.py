"""The adapters of a model by their numbers, as llama-server has them; a request's `lora` chooses among them."""

from __future__ import annotations

from typing import NoReturn

import msgspec
from flask import Response, request

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.auth import admin_only, require_all_models
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.config.model_yaml.adapters import scales_of
from localai_flask.errors import InvalidRequest

bp = Blueprint("lora-adapters", __name__, description="The adapters of a model, as llama-server numbers them")

MODEL = openapi.query_parameter("model", "The model or adapter; without one, that of requests which name none.")


class NumberedAdapter(msgspec.Struct):
    """An adapter's file in the models folder, and how strongly it acts on requests that do not say it."""

    id: int
    path: str
    scale: float


@bp.get("/lora-adapters")
@bp.response(200, openapi.schema_of_list(NumberedAdapter))
@bp.doc(operationId="listNumberedAdapters", parameters=[MODEL])
def list_adapters() -> Response:
    """List the adapters that a model's requests can choose among by `lora`"""
    require_all_models()
    _, config = chosen_model("chat", request.args.get("model"))
    scales = scales_of(config).items()
    return json_response([NumberedAdapter(number, file, scale) for number, (file, scale) in enumerate(scales)])


@bp.post("/lora-adapters")
@admin_only
@bp.doc(operationId="scaleAdapters")
def scale_adapters() -> NoReturn:
    """Refused: how strongly adapters act is for YAML or a request to say, and holds for no others"""
    raise InvalidRequest(
        "Scales for all requests stand in YAML (`lora_scale`); send `lora` with a request to have others for it alone."
    )
