"""The endpoints of OpenAI's batches."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from flask import Response

from localai_flask.api import current
from localai_flask.api.answer import listing
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.batches import shapes
from localai_flask.api.batches.schemas import BatchRequest
from localai_flask.api.door import auth
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.errors import InvalidRequest
from localai_flask.store.batches.batches import Batches, BatchNotFound
from localai_flask.store.batches.rows import StoredBatch, new_batch
from localai_flask.store.kept import Kept

bp = Blueprint("batches", __name__, description="OpenAI's batches")
KIND = "openai"


@bp.post("/batches")
@bp.arguments(BatchRequest)
@bp.response(200, openapi.schema(shapes.Batch), description="The batch.")
@bp.doc(operationId="createBatch")
def create_batch(call: dict[str, Any]) -> Response:
    """Answer the requests of a file, one by one, while nobody waits"""
    uploaded = current.store().files.kept_by(auth.keeper()).get(call["input_file_id"], "input_file_id")
    if uploaded.purpose != "batch":
        said = f"The file {uploaded.id} was uploaded for {uploaded.purpose}; upload it with `purpose` batch."
        raise InvalidRequest(said, param="input_file_id")
    batch = new_batch(
        f"batch_{uuid.uuid4().hex}",
        KIND,
        auth.keeper() or "",
        call["endpoint"],
        msgspec.json.encode(call["metadata"]),
        status="validating",
        input_file_id=uploaded.id,
        output_lives_s=call.get("output_expires_after", {}).get("seconds"),
    )
    kept_batches().create(batch)
    return _respond_with(batch)


@bp.get("/batches")
@bp.response(200, openapi.schema(shapes.BatchList), description="The batches, the newest first.")
@bp.doc(operationId="listBatches", parameters=listing.parameters())
def list_batches() -> Response:
    """Return the batches in pages"""
    page, has_more = listing.choose_page(kept_batches().list(KIND))
    return listing.respond_with_list([Kept(each.id, msgspec.json.encode(_shape(each))) for each in page], has_more)


@bp.get("/batches/<batch_id>")
@bp.response(200, openapi.schema(shapes.Batch), description="The batch.")
@bp.doc(operationId="getBatch")
def get_batch(batch_id: str) -> Response:
    """Return a batch as it is now"""
    return _respond_with(find_batch(batch_id, KIND))


@bp.post("/batches/<batch_id>/cancel")
@bp.response(200, openapi.schema(shapes.Batch), description="The batch.")
@bp.doc(operationId="cancelBatch")
def cancel_batch(batch_id: str) -> Response:
    """Cancel a batch; what has been answered is kept"""
    batch = find_batch(batch_id, KIND)
    if batch.status in ("failed", "completed", "expired"):
        raise InvalidRequest(f"The batch {batch_id} cannot be cancelled; it is {batch.status}.", param="batch_id")
    return _respond_with(kept_batches().cancel(batch_id))


def kept_batches() -> Batches:
    """The batches that whoever asks may have."""
    return current.store().batches.kept_by(auth.keeper())


def find_batch(id: str, kind: str) -> StoredBatch:
    """Return a batch of one API family; raise `BatchNotFound` for any other."""
    batch = kept_batches().get(id)
    if batch.kind != kind:
        raise BatchNotFound(id)
    return batch


def _respond_with(batch: StoredBatch) -> Response:
    return json_response(_shape(batch))


def _shape(batch: StoredBatch) -> shapes.Batch:
    return shapes.batch_shape(batch, kept_batches().counts(batch))
