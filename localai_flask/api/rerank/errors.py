"""Errors in Cohere's shape, for everything under the paths of its API."""

from __future__ import annotations

import msgspec

from localai_flask.api.answer.errors import token_counts
from localai_flask.api.pages import openapi
from localai_flask.errors import ErrorInfo

MARKS = (("/v2/embed", ""), ("/v2/rerank", ""))
"""What marks a request of this family."""


class ErrorResponse(msgspec.Struct):
    """What went wrong; what Cohere has not, `code` and all behind it, is for programs."""

    id: str
    message: str
    code: str
    param: str | None
    n_prompt_tokens: int | msgspec.UnsetType = msgspec.UNSET
    n_ctx: int | msgspec.UnsetType = msgspec.UNSET


_documented = {"description": "An error.", "content": {"application/json": {"schema": openapi.schema(ErrorResponse)}}}
DOCUMENTED = {"400": _documented, "default": _documented}
"""For the OpenAPI page: what stands for OpenAI's shape on these routes."""


def encode_error(info: ErrorInfo, request_id: str) -> bytes:
    """Render an error as the JSON of Cohere's API."""
    body = ErrorResponse(request_id, info.message, info.code, info.param, **token_counts(info))
    return msgspec.json.encode(body)
