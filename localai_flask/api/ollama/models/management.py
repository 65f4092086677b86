"""Ollama's requests that change which models there are: on our own jobs, files and aliases, and for administrators."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, NoReturn

import marshmallow
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.answer.sse import NDJSON, stream_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.llama_server.routes import cancel_downloads
from localai_flask.api.localai.folder_routes import remove
from localai_flask.api.localai.gallery_routes import start_job
from localai_flask.api.ollama import shapes
from localai_flask.api.ollama.errors import DOCUMENTED
from localai_flask.api.ollama.models.listing import NamedCall, NamedRequest
from localai_flask.api.ollama.models.names import untagged
from localai_flask.api.ollama.models.pulling import DONE, Pull
from localai_flask.api.ollama.render import line
from localai_flask.api.pages import openapi
from localai_flask.api.request.fields import Flag, Noted, RequestSchema, Text, not_empty
from localai_flask.api.request.parsing import Blueprint
from localai_flask.atomic_file import editing
from localai_flask.config import references
from localai_flask.config.model_yaml import yamlfile
from localai_flask.errors import ConfigError, InvalidRequest, NotFound, Overloaded
from localai_flask.gallery.models import names, records
from localai_flask.gallery.models.plan import check_free
from localai_flask.gallery.models.request import InstallRequest

bp = Blueprint("ollama-management", __name__, description="Getting, naming and deleting models, as Ollama does")

MOST_PULLS = 32
"""Clients that wait for downloads in one process."""
CLOCKS_S = 1.0
"""How far the clocks of this machine and of the jobs' database may differ."""
_pulls = threading.BoundedSemaphore(MOST_PULLS)
REFUSED = {
    "create": "Models are not made by requests here: put a file and its YAML into the models folder, or post the YAML "
    "to /models/import; docs/from-ollama.md says which keys stand for a Modelfile's.",
    "push": "This server sends no models to registries.",
    "blobs": "This server takes no files of models by requests; put them into the models folder, or pull the model.",
}


@dataclass(frozen=True, slots=True)
class PullCall:
    model: str
    stream: bool


@dataclass(frozen=True, slots=True)
class CopyCall:
    source: str
    destination: str


class PullRequest(NamedRequest):
    stream = Flag(load_default=True)
    insecure = Noted("is for registries without certificates; `ollama://` and `oci://` addresses say how they go.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> PullCall:  # type: ignore[override]
        return PullCall(super().make(data).model, data["stream"])


class CopyRequest(RequestSchema):
    source = Text(required=True, validate=not_empty())
    destination = Text(required=True, validate=not_empty())

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> CopyCall:
        return CopyCall(data["source"], data["destination"])


@bp.post("/api/pull")
@admin_only
@bp.arguments(PullRequest)
@bp.response(200, description="How far it is, as lines of JSON; with `stream` false, one object at the end.")
@bp.doc(operationId="ollamaPull", responses={**openapi.lines(shapes.PullProgress), **DOCUMENTED})
def pull(call: PullCall) -> Response:
    """Get a model from a gallery, from Ollama's registry or from the Hugging Face hub"""
    name = untagged(call.model)
    if _is_own(name):
        return _done(call.stream)
    if not _pulls.acquire(blocking=False):
        raise Overloaded(f"{MOST_PULLS} clients wait for downloads of this process already; try again later.")
    try:
        begun, jobs = time.time(), current.jobs()
        id = start_job(_wanted(name)).uuid
        is_own = jobs.get(id).created_at >= begun - CLOCKS_S
        waiting = Pull(request.environ, jobs, id, is_own=is_own, when_closed=_pulls.release)
    except BaseException:
        _pulls.release()
        raise
    if call.stream:
        return stream_response(waiting, NDJSON)
    waiting.wait()
    return _done(is_stream=False)


@bp.post("/api/copy")
@admin_only
@bp.arguments(CopyRequest)
@bp.response(200, description="The model has a second name.")
@bp.doc(operationId="ollamaCopy", responses=DOCUMENTED)
def copy(call: CopyCall) -> Response:
    """Call a model by a second name, by an alias that is written into the models folder"""
    registry, folder = current.registry(), current.settings().models_path.absolute()
    name = names.check_model_name(untagged(call.destination))
    with editing(folder):
        registry.refresh()
        found, known = registry.look_up(call.source), registry.models().get(name)
        if known is not None and not known.alias:
            raise InvalidRequest(f"There is a model {name!r}; choose another `destination`.", param="destination")
        check_free(name, current.settings(), force=True)
        target = found.alias or found.name
        records.write_whole(names.check_place(folder, f"{name}.yaml"), yamlfile.dump({"name": name, "alias": target}))
    registry.refresh()
    return Response(status=200)


@bp.route("/api/delete", methods=["DELETE"])
@admin_only
@bp.arguments(NamedRequest)
@bp.response(200, description="The model is deleted.")
@bp.doc(operationId="ollamaDelete", responses=DOCUMENTED)
def delete(call: NamedCall) -> Response:
    """Delete a model, and its files that no other model uses"""
    name = untagged(call.model)
    if cancel_downloads(name):
        return Response(status=200)
    try:
        name = current.registry().look_up(call.model).name
    except ConfigError:
        pass  # it is to be deleted all the same
    remove(name)
    return Response(status=200)


@bp.post("/api/create")
@admin_only
@bp.doc(operationId="ollamaCreate", responses=DOCUMENTED)
def create() -> NoReturn:
    """Refused: models are made by files in the models folder"""
    raise InvalidRequest(REFUSED["create"])


@bp.post("/api/push")
@admin_only
@bp.doc(operationId="ollamaPush", responses=DOCUMENTED)
def push() -> NoReturn:
    """Refused: this server sends no models anywhere"""
    raise InvalidRequest(REFUSED["push"])


@bp.post("/api/blobs/<digest>")
@admin_only
@bp.doc(operationId="ollamaBlob", responses=DOCUMENTED)
def put_blob(digest: str) -> NoReturn:
    """Refused: this server takes no files of models by requests"""
    raise InvalidRequest(REFUSED["blobs"])


@bp.route("/api/blobs/<digest>", methods=["HEAD"])
@admin_only
@bp.doc(operationId="ollamaHasBlob", responses=DOCUMENTED)
def has_blob(digest: str) -> NoReturn:
    """Answer that there is no such file, as none is taken"""
    raise NotFound(REFUSED["blobs"])


def _wanted(name: str) -> InstallRequest:
    """Return what a name asks for: a gallery's model, or one of Ollama's registry unless it names another place."""
    if current.galleries().find_or_none(name) is not None:
        return InstallRequest(id=name)
    address = name if references.is_address(name) else f"ollama://{name}"
    return InstallRequest(id=address, name=references.stored_name(name))


def _is_own(name: str) -> bool:
    """Return whether the model is there and was not installed by the server, which would have to get it again."""
    registry, folder = current.registry(), current.settings().models_path
    if not registry.is_model(name):
        return False
    return records.read(folder, registry.look_up(name).name) is None


def _done(is_stream: bool) -> Response:
    done = line(shapes.PullProgress(DONE))
    return Response(done, mimetype=NDJSON.mimetype) if is_stream else json_response(done)
