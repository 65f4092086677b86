"""The endpoints of batches of messages."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from flask import Response, request

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.anthropic.batches import shapes
from localai_flask.api.anthropic.batches.schemas import BatchRequest
from localai_flask.api.anthropic.errors import DOCUMENTED
from localai_flask.api.anthropic.paging import PARAMETERS, choose_page
from localai_flask.api.batches.routes import find_batch, kept_batches
from localai_flask.api.door import auth
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.errors import InvalidRequest
from localai_flask.store.batches.batches import Batches
from localai_flask.store.batches.rows import UNFINISHED, Line, StoredBatch, new_batch

bp = Blueprint("anthropic-batches", __name__, description="Anthropic's batches of messages")
KIND, ENDPOINT = "anthropic", "/v1/messages"
PAGE, LONGEST_PAGE = 20, 1000


@bp.post("/messages/batches")
@bp.arguments(BatchRequest)
@bp.response(200, openapi.schema(shapes.MessageBatch), description="The batch.")
@bp.doc(operationId="createMessageBatch", responses=DOCUMENTED)
def create_batch(lines: list[Line]) -> Response:
    """Answer many conversations, one by one, while nobody waits"""
    id = f"msgbatch_{uuid.uuid4().hex}"
    batch = new_batch(id, KIND, auth.keeper() or "", ENDPOINT, b"{}", status="in_progress")
    kept_batches().create(batch, lines)
    return _respond_with(batch)


@bp.get("/messages/batches")
@bp.response(200, openapi.schema(shapes.MessageBatchList), description="The batches, the newest first.")
@bp.doc(operationId="listMessageBatches", responses=DOCUMENTED, parameters=PARAMETERS)
def list_batches() -> Response:
    """Return the batches in pages"""
    page, has_more = choose_page(list(reversed(kept_batches().list(KIND))), PAGE, LONGEST_PAGE)
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    return json_response(shapes.MessageBatchList([_shape(each) for each in page], first, last, has_more))


@bp.get("/messages/batches/<batch_id>")
@bp.response(200, openapi.schema(shapes.MessageBatch), description="The batch.")
@bp.doc(operationId="getMessageBatch", responses=DOCUMENTED)
def get_batch(batch_id: str) -> Response:
    """Return a batch as it is now"""
    return _respond_with(find_batch(batch_id, KIND))


@bp.get("/messages/batches/<batch_id>/results")
@bp.response(200, {"type": "string"}, content_type="application/x-jsonl", description="A result on each line.")
@bp.doc(operationId="getMessageBatchResults", responses=DOCUMENTED)
def get_results(batch_id: str) -> Response:
    """Return what a batch that has ended was answered"""
    batch = find_batch(batch_id, KIND)
    if batch.status in UNFINISHED:
        raise InvalidRequest(f"The batch {batch_id} has not ended yet; its results come with `ended`.")
    return Response(_results(kept_batches(), batch_id), mimetype="application/x-jsonl")


@bp.post("/messages/batches/<batch_id>/cancel")
@bp.response(200, openapi.schema(shapes.MessageBatch), description="The batch.")
@bp.doc(operationId="cancelMessageBatch", responses=DOCUMENTED)
def cancel_batch(batch_id: str) -> Response:
    """Cancel a batch; what has been answered is kept"""
    find_batch(batch_id, KIND)
    return _respond_with(kept_batches().cancel(batch_id))


@bp.delete("/messages/batches/<batch_id>")
@bp.response(200, openapi.schema(shapes.DeletedBatch), description="It is deleted.")
@bp.doc(operationId="deleteMessageBatch", responses=DOCUMENTED)
def delete_batch(batch_id: str) -> Response:
    """Delete a batch that has ended"""
    if find_batch(batch_id, KIND).status in UNFINISHED:
        raise InvalidRequest(f"The batch {batch_id} has not ended yet; cancel it first.")
    kept_batches().delete(batch_id)
    return json_response(shapes.DeletedBatch(batch_id))


def _results(batches: Batches, id: str) -> Iterator[bytes]:
    after = -1
    while lines := batches.lines(id, after):
        yield b"".join(map(shapes.write_result, lines))
        after = lines[-1].number


def _respond_with(batch: StoredBatch) -> Response:
    return json_response(_shape(batch))


def _shape(batch: StoredBatch) -> shapes.MessageBatch:
    url = f"{request.url_root}v1/messages/batches/{batch.id}/results"
    return shapes.batch_shape(batch, kept_batches().counts(batch), url)
