"""Errors in Cohere's shape, for everything under the paths of its API."""

from __future__ import annotations

import msgspec

from localai_flask.api.pages import openapi
from localai_flask.errors import ErrorInfo

MARKS = (("/v2/embed", ""), ("/v2/rerank", ""))
"""What marks a request of this family."""


class ErrorResponse(msgspec.Struct):
    """What went wrong; `code` and `param`, which Cohere has not, are for programs."""

    id: str
    message: str
    code: str
    param: str | None


_documented = {"description": "An error.", "content": {"application/json": {"schema": openapi.schema(ErrorResponse)}}}
DOCUMENTED = {"400": _documented, "default": _documented}
"""For the OpenAPI page: what stands for OpenAI's shape on these routes."""


def encode_error(info: ErrorInfo, request_id: str) -> bytes:
    """Render an error as the JSON of Cohere's API."""
    return msgspec.json.encode(ErrorResponse(request_id, info.message, info.code, info.param))
