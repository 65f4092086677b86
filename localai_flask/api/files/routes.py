"""The endpoints of files."""

from __future__ import annotations

import msgspec
from flask import Response, request

from localai_flask.api import current
from localai_flask.api.answer import listing
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door import auth
from localai_flask.api.files import shapes
from localai_flask.api.files.upload import read_upload, takes_upload
from localai_flask.api.pages import openapi
from localai_flask.api.request.parsing import Blueprint
from localai_flask.store.files import LONGEST_LIST, Files
from localai_flask.store.kept import Kept

bp = Blueprint("files", __name__, description="OpenAI's files")
FORM = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string"},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer"},
    },
    "required": ["file", "purpose"],
}


def kept_files() -> Files:
    """The files that whoever asks may have."""
    return current.store().files.kept_by(auth.keeper())


@bp.post("/files")
@takes_upload
@bp.response(200, openapi.schema(shapes.File), description="The file.")
@bp.doc(operationId="createFile", requestBody={"content": {"multipart/form-data": {"schema": FORM}}})
def create_file() -> Response:
    """Upload a file"""
    store, upload = kept_files(), read_upload()
    return json_response(shapes.file_shape(store.put(upload.name, upload.purpose, upload.pieces(), upload.expires_at)))


@bp.get("/files")
@bp.response(200, openapi.schema(shapes.FileList), description="The files, the newest first unless `order` is asc.")
@bp.doc(
    operationId="listFiles",
    parameters=[
        openapi.query_parameter("purpose", "Only files for this."),
        *listing.parameters(LONGEST_LIST),
    ],
)
def list_files() -> Response:
    """Return the files in pages"""
    found = [shapes.file_shape(each) for each in kept_files().list(request.args.get("purpose") or None)]
    kept = [Kept(each.id, msgspec.json.encode(each)) for each in found]
    return listing.respond_with_page(kept, LONGEST_LIST, LONGEST_LIST)


@bp.get("/files/<file_id>")
@bp.response(200, openapi.schema(shapes.File), description="The file.")
@bp.doc(operationId="getFile")
def get_file(file_id: str) -> Response:
    """Return what is known of a file"""
    return json_response(shapes.file_shape(kept_files().get(file_id)))


@bp.get("/files/<file_id>/content")
@bp.response(200, {"type": "string", "format": "binary"}, content_type="application/octet-stream")
@bp.doc(operationId="getFileContent")
def get_content(file_id: str) -> Response:
    """Return a file's bytes"""
    store = kept_files()
    stored, pieces = store.get(file_id), store.read(file_id)
    response = Response(pieces, mimetype="application/octet-stream")
    response.content_length = stored.size
    response.headers.set("Content-Disposition", "attachment", filename=stored.name)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@bp.delete("/files/<file_id>")
@bp.response(200, openapi.schema(shapes.DeletedFile), description="It is deleted.")
@bp.doc(operationId="deleteFile")
def delete_file(file_id: str) -> Response:
    """Delete a file"""
    kept_files().delete(file_id)
    return json_response(shapes.DeletedFile(file_id))
