"""The shapes of Anthropic's responses: encoded by msgspec, and shown as JSON Schema on the OpenAPI page."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SHORT_TTL_S = 300
"""What is kept for longer counts as kept for an hour."""

StopWord = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class OutputTokensDetails(msgspec.Struct):
    thinking_tokens: int


class CacheCreation(msgspec.Struct):
    """`cache_creation_input_tokens` by the time that they are kept for."""

    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class UsageShape(msgspec.Struct):
    """`cache_read_input_tokens` are those of the prompt that came out of the cache.

    The others were computed: they are `cache_creation_input_tokens` if the request has a `cache_control` and the engine
    keeps them for it, and else `input_tokens`.
    """

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    output_tokens_details: OutputTokensDetails | msgspec.UnsetType = msgspec.UNSET
    cache_creation: CacheCreation | msgspec.UnsetType = msgspec.UNSET


class TextBlock(msgspec.Struct, tag="text"):
    text: str
    citations: None = None


class ThinkingBlock(msgspec.Struct, tag="thinking"):
    thinking: str
    signature: str


class ToolUseBlock(msgspec.Struct, tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


class Message(msgspec.Struct):
    id: str
    model: str
    content: list[TextBlock | ThinkingBlock | ToolUseBlock]
    stop_reason: StopWord | None
    stop_sequence: str | None
    usage: UsageShape
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"


class TokenCount(msgspec.Struct):
    input_tokens: int


class ErrorDetail(msgspec.Struct):
    """What went wrong; the counts are there beyond Anthropic's API."""

    type: str
    message: str
    n_prompt_tokens: int | msgspec.UnsetType = msgspec.UNSET
    n_ctx: int | msgspec.UnsetType = msgspec.UNSET


class ErrorResponse(msgspec.Struct):
    error: ErrorDetail
    request_id: str
    type: Literal["error"] = "error"


class Model(msgspec.Struct):
    id: str
    display_name: str
    created_at: str
    max_input_tokens: int | None
    max_tokens: int | None
    lifecycle: Literal["active"] = "active"
    type: Literal["model"] = "model"


class ModelList(msgspec.Struct):
    data: list[Model]
    first_id: str | None
    last_id: str | None
    has_more: bool
