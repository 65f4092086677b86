"""The shapes of Anthropic's responses: encoded by msgspec, and shown as JSON Schema on the OpenAPI page."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

StopWord = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class OutputTokensDetails(msgspec.Struct):
    thinking_tokens: int


class UsageShape(msgspec.Struct):
    """`input_tokens` are those that had to be computed; the prompt's others are in `cache_read_input_tokens`."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int = 0
    output_tokens_details: OutputTokensDetails | msgspec.UnsetType = msgspec.UNSET


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
    type: str
    message: str


class ErrorResponse(msgspec.Struct):
    error: ErrorDetail
    request_id: str
    type: Literal["error"] = "error"
