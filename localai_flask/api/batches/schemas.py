"""The body of a request for a batch."""

from __future__ import annotations

from localai_flask.api.batches.lines import ENDPOINTS
from localai_flask.api.batches.shapes import WINDOW
from localai_flask.api.files.upload import LONGEST_LIFE_S, SHORTEST_LIFE_S
from localai_flask.api.request.fields import Object, RequestSchema, Text, Whole, one_of
from localai_flask.api.request.metadata import Metadata


class ExpiresAfter(RequestSchema):
    anchor = Text(required=True, validate=one_of("created_at"))
    seconds = Whole(SHORTEST_LIFE_S, LONGEST_LIFE_S, required=True)


class BatchRequest(RequestSchema):
    input_file_id = Text(required=True)
    endpoint = Text(required=True, validate=one_of(*ENDPOINTS))
    completion_window = Text(required=True, validate=one_of(WINDOW))
    metadata = Metadata(load_default=dict)
    output_expires_after = Object(ExpiresAfter)
