"""LocalAI's endpoints about the models folder: delete a model, write its YAML, look at the folder anew."""

from __future__ import annotations

from pathlib import Path

from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.localai import gallery_shapes as shapes
from localai_flask.api.localai.gallery_routes import job_started
from localai_flask.api.pages import openapi
from localai_flask.api.request.body.json_body import decode_json, read_body
from localai_flask.api.request.parsing import Blueprint
from localai_flask.atomic_file import editing
from localai_flask.config import references
from localai_flask.config.editor import check_written, written_text
from localai_flask.config.files.listing import is_yaml
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml import file_reader, yamlfile
from localai_flask.errors import InvalidRequest
from localai_flask.gallery.models import names, records, removal
from localai_flask.gallery.models.plan import check_free

bp = Blueprint("models-folder", __name__, description="What the models folder holds")

YAML_BODY = {
    "required": True,
    "content": {
        "application/yaml": {"schema": {"type": "string"}},
        "application/json": {"schema": {"type": "object"}},
    },
}


@bp.post("/models/delete/<path:name>")
@bp.alias("/api/models/delete/<path:name>", methods=["POST"])
@bp.response(200, openapi.schema(shapes.JobStarted), description="The job, which has ended with this answer.")
@bp.doc(operationId="deleteModel")
@admin_only
def delete_model(name: str) -> Response:
    """Delete a model, and its files that no other model uses"""
    return json_response(job_started(remove(name)))


@bp.post("/models/reload")
@bp.response(200, openapi.schema(shapes.Done))
@bp.doc(operationId="reloadModels")
@admin_only
def reload_models() -> Response:
    """Look at the models folder now, which happens each second anyway"""
    current.registry().refresh()
    return json_response(shapes.Done(True, f"{len(current.registry().models())} models"))


@bp.post("/models/edit/<path:name>")
@bp.response(200, openapi.schema(shapes.Configured))
@bp.doc(operationId="editModel", requestBody=YAML_BODY)
@admin_only
def edit_model(name: str) -> Response:
    """Replace a model's YAML; requests from now on go by it"""
    text, folder = _posted_yaml(), current.settings().models_path.absolute()
    with editing(folder):
        current.registry().refresh()
        source = removal.find_source(name, current.registry(), folder)
        file = source if is_yaml(source) else folder / f"{names.check_model_name(name)}.yaml"
        config = file_reader.check_text(text, file)
        if config.name != name:
            said = f"The YAML is of {config.name!r} and no more of {name!r}; leave its `name` as it is."
            raise InvalidRequest(said, param="name")
        _write(file, text)
    return _written(config, file)


@bp.get("/api/models/edit/<path:name>")
@bp.response(200, openapi.schema(shapes.Written), description="The YAML as it stands in the file.")
@bp.doc(operationId="readModelYaml")
@admin_only
def read_yaml(name: str) -> Response:
    """Return a model's YAML, or what would say the same of a model that has none"""
    folder = current.settings().models_path.absolute()
    source = removal.find_source(name, current.registry(), folder)
    config = current.registry().models().get(name) or ModelConfig(name=name)
    text, is_written = written_text(config, source), is_yaml(source)
    return json_response(shapes.Written(name, source.name if is_written else None, text))


@bp.post("/api/models/check/<path:name>")
@bp.response(200, openapi.schema(shapes.Checked))
@bp.doc(operationId="checkModelYaml", requestBody=YAML_BODY)
@admin_only
def check_yaml(name: str) -> Response:
    """Return what would be wrong with a model's YAML, which is not written"""
    file = current.settings().models_path.absolute() / f"{names.check_model_name(name)}.yaml"
    found = check_written(_posted_yaml(), file, current.settings())
    told = [shapes.YamlFinding(each.line, each.key, each.text, each.is_fault) for each in found]
    return json_response(shapes.Checked(told))


@bp.post("/models/import")
@bp.response(200, openapi.schema(shapes.Configured))
@bp.doc(operationId="importConfiguration", requestBody=YAML_BODY)
@admin_only
def import_configuration() -> Response:
    """Write the YAML of a new model, whose files are there or are named with their origin"""
    text, folder = _posted_yaml(), current.settings().models_path.absolute()
    config = file_reader.check_text(text, folder / "posted.yaml")
    content = yamlfile.parse(text)
    if not isinstance(content, dict) or not content.get("name"):
        raise InvalidRequest("The YAML has no `name`; give the model one.", param="name")
    name = names.check_model_name(config.name)
    if name != config.name:
        raise InvalidRequest(f"The name {config.name!r} cannot be that of a file; take {name!r}.", param="name")
    file = folder / f"{name}.yaml"
    with editing(folder):
        check_free(name, current.settings(), force=False)
        _write(file, text)
    return _written(config, file)


def remove(name: str) -> str:
    """Let a model leave the memory, delete it, and return the id of the job that says so.

    Raises what `remove_model` raises.
    """
    settings = current.settings()
    current.registry().refresh()
    stored = references.stored_name(name)  # of one that was named by where it comes from, as in `owner/repo`
    name = name if name in current.registry().models() or "/" not in name else stored
    for job in current.jobs().list(unfinished_only=True):
        if job.name == name:
            current.jobs().cancel(job.id)
    config = current.registry().models().get(name)
    if config is not None and not _shares_worker(config):
        current.pool().unload(config.engine.name, by_force=False)
    removed = removal.remove_model(name, settings)
    current.registry().refresh()
    return current.jobs().record_removal(removed)


def _shares_worker(config: ModelConfig) -> bool:
    """Return whether another model is served by the same worker, or this is an alias, which has none."""
    others = [each for each in current.registry().models().values() if each.name != config.name and not each.alias]
    return bool(config.alias) or any(each.key == config.key for each in others)


def _posted_yaml() -> str:
    """Return the body as YAML, as it was written unless it is JSON."""
    body = read_body(request)
    if not body.strip():
        raise InvalidRequest("The body is empty; send the model's YAML.")
    if request.is_json:
        return yamlfile.dump(decode_json(body))
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is no UTF-8 (byte {error.start}).") from None


def _write(file: Path, text: str) -> None:
    records.write_whole(names.check_place(current.settings().models_path, file.name), text)


def _written(config: ModelConfig, file: Path) -> Response:
    current.registry().refresh()
    said = f"The model {config.name} is written; requests from now on go by it."
    return json_response(shapes.Configured(True, said, file.name, config.name))
