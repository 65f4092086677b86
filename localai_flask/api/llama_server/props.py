"""What this server and its models are, as llama-server's /props says it: its web page asks for this before all else.

Like llama-server's router, the server itself says nothing of a model; a model that is not loaded is described from its
files, and not loaded for it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from flask import Response, request

from localai_flask import __version__
from localai_flask.api import current
from localai_flask.api.answer import model_traits
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door import auth
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.config.model import ModelConfig
from localai_flask.config.sampling import sampling
from localai_flask.sampling_params import SAMPLERS, SamplingParams

bp = Blueprint("props", __name__, description="The server and its models, as llama-server describes them")

BUILD = f"localai-flask {__version__}"
# fmt: off
SHARED = (
    "seed", "temperature", "dynatemp_range", "dynatemp_exponent", "top_k", "top_p", "min_p", "top_n_sigma",
    "xtc_probability", "xtc_threshold", "typical_p", "repeat_last_n", "repeat_penalty", "presence_penalty",
    "frequency_penalty", "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n",
    "dry_sequence_breakers", "mirostat", "mirostat_tau", "mirostat_eta", "adaptive_target", "adaptive_decay", "stop",
    "ignore_eos",
)
# fmt: on
"""The parameters that both servers call the same."""
USUAL_SAMPLERS = SAMPLERS[: SAMPLERS.index("mirostat")]
"""Those that run where nobody names any: Mirostat and adaptive-p take the place of others."""
NAMED = "The model's name; without one, the answer is about the server."


class GenerationSettings(msgspec.Struct):
    """What holds for requests that say nothing else; `n_ctx` is the context of one request, 0 if it is not known."""

    params: dict[str, Any]
    n_ctx: int


class Modalities(msgspec.Struct):
    """What a model reads beside text."""

    vision: bool
    audio: bool = False
    video: bool = False


class ServerProps(msgspec.Struct):
    """The server; `max_instances` is how many models may be loaded at once (0: no limit)."""

    max_instances: int
    default_generation_settings: GenerationSettings
    role: Literal["router"] = "router"
    models_autoload: bool = True
    model_alias: str = "localai-flask"
    model_path: str = "none"
    ui_settings: dict[str, Any] = {}
    build_info: str = BUILD
    cors_proxy_enabled: bool = False


class ModelProps(msgspec.Struct):
    """A model; `total_slots` is how many requests it runs at once (0: not loaded).

    `is_sleeping` is whether a request would load it.
    """

    model_alias: str
    model_path: str
    default_generation_settings: GenerationSettings
    total_slots: int
    modalities: Modalities
    chat_template: str
    bos_token: str
    eos_token: str
    is_sleeping: bool
    chat_template_tool_use: str | msgspec.UnsetType = msgspec.UNSET
    ui: bool = True
    ui_settings: dict[str, Any] = {}
    build_info: str = BUILD
    cors_proxy_enabled: bool = False


@bp.get("/props")
@bp.response(200, openapi.schema(ServerProps), description="The server, or with `model` a model.")
@bp.doc(
    operationId="props",
    parameters=[openapi.query_parameter("model", NAMED)],
)
def props() -> Response:
    """Describe the server, or one of its models"""
    if name := request.args.get("model"):
        registry, may_use = current.registry(), auth.key().model_filter
        return json_response(_of_model(registry.look_up(name, may_use).name, registry.get(name, may_use)))
    settings = current.settings()
    most = 1 if settings.single_active_backend else settings.max_active_backends
    return json_response(ServerProps(most, GenerationSettings({}, 0)))


def _of_model(name: str, config: ModelConfig) -> ModelProps:
    """Describe a model under the name that it is listed by, which may be an alias."""
    info, engine = model_traits.info_of(config), config.engine.name
    return ModelProps(
        model_alias=name,
        model_path=config.parameters.model,
        default_generation_settings=GenerationSettings(
            _params(sampling.merge(config, {})), model_traits.context_length(config) or 0
        ),
        total_slots=current.pool().room(engine, 0) or 0,
        modalities=Modalities(vision="image" in model_traits.abilities(config)),
        chat_template=model_traits.template(config),
        bos_token=info.bos_token if info else "",
        eos_token=info.eos_token if info else "",
        is_sleeping=current.pool().states().get(engine) != "ready",
        chat_template_tool_use=(info and info.tool_template) or msgspec.UNSET,
    )


def _params(params: SamplingParams) -> dict[str, Any]:
    told = {name: getattr(params, name) for name in SHARED}
    most = params.max_tokens or -1
    return told | {"samplers": params.samplers or USUAL_SAMPLERS, "max_tokens": most, "n_predict": most}
