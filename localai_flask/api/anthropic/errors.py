"""Errors in Anthropic's shape, for everything under its paths."""

from __future__ import annotations

import msgspec

from localai_flask.api.answer.family_words import MESSAGES
from localai_flask.api.anthropic.shapes import ErrorDetail, ErrorResponse
from localai_flask.api.pages import openapi
from localai_flask.errors import ErrorInfo

VERSION = "anthropic-version"
"""The header that the family's clients send with all requests."""
MARKS = (("/v1/messages", ""), ("/messages", ""), ("/v1/models", VERSION), ("/models", VERSION))
"""What marks a request of this family: its path, and the header on paths that OpenAI's clients use too."""
_documented = {"description": "An error.", "content": {"application/json": {"schema": openapi.schema(ErrorResponse)}}}
DOCUMENTED = {"400": _documented, "default": _documented}
"""For the OpenAPI page: what stands for OpenAI's shape on these routes."""


def encode_error(info: ErrorInfo, request_id: str) -> bytes:
    """Render an error as the JSON of Anthropic's API."""
    kind = MESSAGES.error(info.status)
    return msgspec.json.encode(ErrorResponse(ErrorDetail(kind, info.message), request_id))
