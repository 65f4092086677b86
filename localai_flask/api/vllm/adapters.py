"""Load and unload LoRA adapters while the server runs, as vLLM has it: each becomes a model, by a YAML of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import marshmallow
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.door.auth import admin_only
from localai_flask.api.door.places import settle, take_place, takes_place
from localai_flask.api.request.fields import Flag, Noted, RequestSchema, Text, not_empty
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.work.watch import Watch
from localai_flask.atomic_file import editing
from localai_flask.config.engines.facts import facts
from localai_flask.config.folder import adapter_files
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml import yamlfile
from localai_flask.config.model_yaml.adapters import files_of
from localai_flask.errors import ApiError, ConfigError, InvalidRequest, NotFound
from localai_flask.gallery.models import names, records
from localai_flask.gallery.models.plan import check_free
from localai_flask.generation import Adapter, Prompt
from localai_flask.pool.client.inbox import BEAT_S
from localai_flask.sampling_params import SamplingParams

bp = Blueprint("adapters", __name__, description="LoRA adapters as models, as vLLM loads them")

WRITTEN = frozenset({"name", "parent", "lora_adapter"})
"""What a YAML has that was written here; one with more was made by somebody, and is not deleted by an `unload`."""
SENTENCE = {"content": {"text/plain": {"schema": {"type": "string"}}}}


@dataclass(frozen=True, slots=True)
class LoadCall:
    name: str
    path: str
    base: str | None
    replaces: bool


class LoadRequest(RequestSchema):
    lora_name = Text(required=True, validate=not_empty())
    lora_path = Text(required=True, validate=not_empty())
    base_model_name = Text(metadata={"description": "The parent; needless where one model alone can be meant."})
    load_inplace = Flag(load_default=False, metadata={"description": "Whether another adapter gives the name up."})
    is_3d_lora_weight = Noted("is seen in the adapter's files.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> LoadCall:
        return LoadCall(data["lora_name"], data["lora_path"], data.get("base_model_name"), data["load_inplace"])


class UnloadRequest(RequestSchema):
    lora_name = Text(required=True, validate=not_empty())
    lora_int_id = Noted("is a number inside vLLM; adapters go by their names.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> str:
        return str(data["lora_name"])


@bp.post("/load_lora_adapter")
@admin_only
@takes_place
@bp.arguments(LoadRequest)
@bp.response(200, description="The adapter is a model from now on.")
@bp.doc(operationId="loadAdapter", responses={"200": SENTENCE})
def load_adapter(call: LoadCall) -> Response:
    """Make a LoRA adapter of the models folder a model of its own, which is served with its parent's weights"""
    registry, folder = current.registry(), current.settings().models_path.absolute()
    registry.refresh()
    name = _free_name(call)
    file = adapter_files.within(call.path, folder)
    parent = _parent_of(call, folder / file)
    adapter_files.check_fits(folder / file, parent)
    _try(parent, file)
    with editing(folder):
        registry.refresh()
        _free_name(call)  # once more, as trying takes its time, and others edit the folder meanwhile
        content = {"name": name, "parent": parent.name, "lora_adapter": file}
        records.write_whole(names.check_place(folder, f"{name}.yaml"), yamlfile.dump(content))
    registry.refresh()
    return Response(f"Success: LoRA adapter '{name}' added successfully.", mimetype="text/plain")


@bp.post("/unload_lora_adapter")
@admin_only
@bp.arguments(UnloadRequest)
@bp.response(200, description="There is no such model any more; what runs with the adapter ends as it would have.")
@bp.doc(operationId="unloadAdapter", responses={"200": SENTENCE})
def unload_adapter(name: str) -> Response:
    """Take an adapter that was loaded by a request off the list of models; its file stays"""
    registry = current.registry()
    with editing(current.settings().models_path.absolute()):
        registry.refresh()
        known = registry.models().get(name)
        if known is None or not known.parent:
            raise NotFound(f"There is no adapter {name[:200]!r}; GET /v1/models lists them with their `parent`.")
        _check_ours(known)
        Path(known.source).unlink(missing_ok=True)
    registry.refresh()
    return Response(f"Success: LoRA adapter '{name}' removed successfully.", mimetype="text/plain")


def _free_name(call: LoadCall) -> str:
    """Return the name that an adapter gets; raise `InvalidRequest` if it cannot have it."""
    name = names.check_model_name(call.name, "lora_name")
    if name != call.name:
        raise InvalidRequest(f"The name {call.name!r} cannot be that of a file; take {name!r}.", param="lora_name")
    known = current.registry().models().get(name)
    if known is not None and not known.parent:
        raise InvalidRequest(f"The name {name!r} is that of a model; choose another `lora_name`.", param="lora_name")
    if known is not None and not call.replaces:
        said = "is loaded already; unload it, or send `load_inplace: true` to have this one in its place"
        raise InvalidRequest(f"The adapter {name!r} {said}.", param="lora_name")
    if known is not None:
        _check_ours(known)
    check_free(name, current.settings(), force=known is not None)
    return name


def _check_ours(config: ModelConfig) -> None:
    """Raise `InvalidRequest` for an adapter that stands in somebody's YAML."""
    source = Path(config.source)
    documents = yamlfile.read(source)
    if len(documents) != 1 or not documents[0].content.keys() <= WRITTEN:
        said = f"stands in {source.name}, which was not written by a request; change that file instead"
        raise InvalidRequest(f"The adapter {config.name!r} {said}.", param="lora_name")


def _parent_of(call: LoadCall, file: Path) -> ModelConfig:
    """Return the model that an adapter belongs to: the one that is named, or the only one that it can be for."""
    registry = current.registry()
    if call.base:
        found = registry.get(call.base)
        if found.parent:
            said = f"is itself an adapter of {found.parent!r}, which is to be named instead"
            raise InvalidRequest(f"The model {call.base!r} {said}.", param="base_model_name")
        return found
    own = [each for each in registry.models().values() if not (each.alias or each.parent or each.variant_of)]
    usable = [each for each in own if not each.disabled and facts(each.backend).adapts]
    fitting = [each for each in usable if adapter_files.is_made_for(file, each)] or usable
    default = [each for each in fitting if each.name == current.settings().default_model]
    if len(default or fitting) != 1:
        listed = ", ".join(each.name for each in fitting[:5]) or "none"
        said = f"Name the model that the adapter was trained for; those that it could be for are: {listed}."
        raise InvalidRequest(said, param="base_model_name")
    return (default or fitting)[0]


def _try(parent: ModelConfig, file: str) -> None:
    """Have a parent that is loaded compute a token with an adapter; raise `InvalidRequest` if it cannot."""
    if not current.pool().is_loaded(parent):
        return
    asked = SamplingParams(max_tokens=1, adapters=tuple(Adapter(*each) for each in (*files_of(parent), (file, 1.0))))
    watch, place = Watch(request.environ), take_place()
    try:
        session = current.pool().session(parent)
        for _ in session.wait_ready(BEAT_S):
            watch.check()
        generation = session.generate([(Prompt("."), asked)])
        settle()
        try:
            for _ in generation.events(BEAT_S):
                watch.check()
        finally:
            generation.close()
    except ApiError as error:
        if error.info.code != ConfigError.code:
            raise
        raise InvalidRequest(error.info.message, param="lora_path") from error
    finally:
        place.release()
