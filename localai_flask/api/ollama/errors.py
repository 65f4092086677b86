"""Errors in Ollama's shape, for everything under its paths."""

from __future__ import annotations

import msgspec

from localai_flask.api.answer.errors import token_counts
from localai_flask.api.ollama.shapes import ErrorResponse
from localai_flask.api.pages import openapi
from localai_flask.errors import ErrorInfo

PATHS = (
    *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings"),
    *("/api/version", "/api/tags", "/api/ps", "/api/show"),
    *("/api/pull", "/api/copy", "/api/delete", "/api/create", "/api/push", "/api/blobs"),
)
MARKS = tuple((path, "") for path in PATHS)
"""What marks a request of this family."""
_documented = {"description": "An error.", "content": {"application/json": {"schema": openapi.schema(ErrorResponse)}}}
DOCUMENTED = {"400": _documented, "default": _documented}
"""For the OpenAPI page: what stands for OpenAI's shape on these routes."""


def encode_error(info: ErrorInfo, _: str = "") -> bytes:
    """Render an error as the JSON of Ollama's API."""
    return msgspec.json.encode(ErrorResponse(info.message, info.code, **token_counts(info)))
