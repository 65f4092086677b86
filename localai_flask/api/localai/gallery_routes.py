"""LocalAI's endpoints about galleries: what they offer, and the jobs that install it."""

from __future__ import annotations

import msgspec
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.auth import admin_only
from localai_flask.api.localai import gallery_shapes as shapes
from localai_flask.api.localai.gallery_schemas import ApplyRequest, ImportRequest
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.query import whole_number
from localai_flask.gallery.index.entries import GalleryEntry
from localai_flask.gallery.models import records
from localai_flask.gallery.models.plan import check_request
from localai_flask.gallery.models.request import InstallRequest

bp = Blueprint("galleries", __name__, description="Models that can be installed, and the jobs that do it")

PAGE, MOST_ITEMS, MOST_PAGES = 100, 1000, 10**6
TOTAL = "X-Total-Count"


@bp.get("/models/available")
@bp.response(200, openapi.schema_of_list(shapes.AvailableModel), description="The models, `X-Total-Count` of all.")
@bp.doc(
    operationId="listAvailableModels",
    parameters=[
        openapi.query_parameter("term", "Words that all have to occur in the name, the description or the tags."),
        openapi.query_parameter("tag", "A tag that the model has to have."),
        openapi.query_parameter("gallery", "The gallery."),
        openapi.query_parameter(
            "page", "Which page, the first is 1; without it all models are listed.", type="integer", minimum=1
        ),
        openapi.query_parameter("items", "How many models a page has.", type="integer", minimum=1, maximum=MOST_ITEMS),
    ],
)
@admin_only
def list_available_models() -> Response:
    """List the models that the galleries offer"""
    page, count = whole_number("page", 0, 1, MOST_PAGES), whole_number("items", PAGE, 1, MOST_ITEMS)
    found = [entry for entry in current.galleries().entries() if _fits(entry)]
    installed = records.installed_names(current.settings().models_path, current.registry().models())
    urls = {gallery.name: gallery.url for gallery in current.galleries().sources}
    shown = found[(page - 1) * count : page * count] if page else found
    listed = [shapes.available(entry, urls[entry.gallery], installed) for entry in shown]
    response = json_response(listed)
    response.headers[TOTAL] = str(len(found))
    return response


@bp.get("/models/galleries")
@bp.response(200, openapi.schema_of_list(shapes.GalleryShape))
@bp.doc(operationId="listGalleries")
@admin_only
def list_galleries() -> Response:
    """List the galleries, and what is wrong with any"""
    return json_response(
        [shapes.GalleryShape(**msgspec.structs.asdict(state)) for state in current.galleries().states()],
    )


@bp.post("/models/apply")
@admin_only
@bp.arguments(ApplyRequest)
@bp.response(200, openapi.schema(shapes.JobStarted), description="The job that installs the model.")
@bp.doc(operationId="installModel")
def install_model(call: InstallRequest) -> Response:
    """Install a model of a gallery, of an address, or by its configuration"""
    return json_response(start_job(call))


@bp.post("/models/import-uri")
@admin_only
@bp.arguments(ImportRequest)
@bp.response(200, openapi.schema(shapes.JobStarted), description="The job that installs the model.")
@bp.doc(operationId="importModel")
def import_model(call: InstallRequest) -> Response:
    """Install a model by its address alone"""
    return json_response(start_job(call))


@bp.get("/models/jobs")
@bp.response(200, {"type": "object", "additionalProperties": openapi.schema(shapes.JobShape)})
@bp.doc(operationId="listJobs")
@admin_only
def list_jobs() -> Response:
    """List the jobs of the last days by their ids, the newest first"""
    return json_response({job.id: shapes.job(job) for job in current.jobs().list()})


@bp.get("/models/jobs/<id>")
@bp.alias("/api/models/job/<id>", methods=["GET"])
@bp.response(200, openapi.schema(shapes.JobShape))
@bp.doc(operationId="watchJob")
@admin_only
def watch_job(id: str) -> Response:
    """Return how far a job is, or how it has ended"""
    return json_response(shapes.job(current.jobs().get(id)))


@bp.post("/models/jobs/<id>/cancel")
@bp.alias("/api/operations/<id>/cancel", methods=["POST"])
@bp.response(200, openapi.schema(shapes.Cancelled))
@bp.doc(operationId="cancelJob")
@admin_only
def cancel_job(id: str) -> Response:
    """Cancel a job; what was received is kept, so that another one resumes from there"""
    has_stopped = current.jobs().cancel(id)
    return json_response(shapes.Cancelled(has_stopped, "cancelled" if has_stopped else "the job had ended already"))


def start_job(call: InstallRequest) -> shapes.JobStarted:
    """Queue an installation, after what can be said at once is in order."""
    check_request(call, current.galleries(), current.settings())
    return job_started(current.jobs().submit(call))


def job_started(id: str) -> shapes.JobStarted:
    """Return where a job can be watched."""
    return shapes.JobStarted(id, f"{request.url_root}models/jobs/{id}")


def _fits(entry: GalleryEntry) -> bool:
    tag, gallery = request.args.get("tag", "").lower(), request.args.get("gallery", "").lower()
    return (
        entry.has_words(request.args.get("term", "").split())
        and (not tag or tag in map(str.lower, entry.tags))
        and (not gallery or gallery == entry.gallery.lower())
    )
