"""Errors in Anthropic's shape, for everything under its paths."""

from __future__ import annotations

import msgspec

from localai_flask.api.answer.errors import token_counts
from localai_flask.api.answer.family_words import MESSAGES
from localai_flask.api.anthropic.shapes import ErrorDetail, ErrorResponse
from localai_flask.api.pages import openapi
from localai_flask.errors import ContextOverflow, ErrorInfo

VERSION = "anthropic-version"
"""The header that the family's clients send with all requests."""
MARKS = (("/v1/messages", ""), ("/messages", ""), ("/v1/models", VERSION), ("/models", VERSION))
"""What marks a request of this family: its path, and the header on paths that OpenAI's clients use too."""
TOO_LONG = "prompt is too long"
"""The API's words for a prompt that does not fit: Claude Code shortens a conversation when it reads them."""
_documented = {"description": "An error.", "content": {"application/json": {"schema": openapi.schema(ErrorResponse)}}}
DOCUMENTED = {"400": _documented, "default": _documented}
"""For the OpenAPI page: what stands for OpenAI's shape on these routes."""


def encode_error(info: ErrorInfo, request_id: str) -> bytes:
    """Render an error as the JSON of Anthropic's API."""
    kind, message = MESSAGES.error(info.status), info.message
    if info.code == ContextOverflow.code:
        message = f"{TOO_LONG}: {f'{info.asked} tokens > {info.limit} maximum. ' if info.asked else ''}{message}"
    return msgspec.json.encode(ErrorResponse(ErrorDetail(kind, message, **token_counts(info)), request_id))
