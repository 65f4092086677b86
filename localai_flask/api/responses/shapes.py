"""The shapes of Open Responses' objects: encoded by msgspec when we answer, and shown on the OpenAPI page.

Field by field what https://www.openresponses.org/reference says, and what the official `openai` package parses.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from localai_flask.api.answer.logprobs import Logprob

Status = Literal["queued", "in_progress", "completed", "failed", "incomplete", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(msgspec.Struct, tag="output_text"):
    text: str = ""
    annotations: list[dict[str, Any]] = []
    logprobs: list[Logprob] = []


class ReasoningText(msgspec.Struct, tag="reasoning_text"):
    text: str = ""


class SummaryText(msgspec.Struct, tag="summary_text"):
    text: str = ""


class Message(msgspec.Struct, tag="message"):
    id: str
    status: ItemStatus = "in_progress"
    role: Literal["assistant"] = "assistant"
    content: list[OutputText] = []


class Reasoning(msgspec.Struct, tag="reasoning"):
    id: str
    status: ItemStatus = "in_progress"
    summary: list[SummaryText] = []
    content: list[ReasoningText] | msgspec.UnsetType = msgspec.UNSET
    encrypted_content: str | msgspec.UnsetType = msgspec.UNSET


class FunctionCall(msgspec.Struct, tag="function_call"):
    id: str
    call_id: str
    name: str
    arguments: str = ""
    status: ItemStatus = "in_progress"
    namespace: str | msgspec.UnsetType = msgspec.UNSET


class CustomToolCall(msgspec.Struct, tag="custom_tool_call"):
    id: str
    call_id: str
    name: str
    input: str = ""
    status: ItemStatus = "in_progress"
    namespace: str | msgspec.UnsetType = msgspec.UNSET


class LocalShellCall(msgspec.Struct, tag="local_shell_call"):
    id: str
    call_id: str
    action: dict[str, Any]
    status: ItemStatus = "in_progress"


class ShellCall(msgspec.Struct, tag="shell_call"):
    id: str
    call_id: str
    action: dict[str, Any]
    status: ItemStatus = "in_progress"


class ApplyPatchCall(msgspec.Struct, tag="apply_patch_call"):
    id: str
    call_id: str
    operation: dict[str, Any]
    status: ItemStatus = "in_progress"


Call = FunctionCall | CustomToolCall | LocalShellCall | ShellCall | ApplyPatchCall
OutputItem = Message | Reasoning | Call


class InputTokensDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(msgspec.Struct):
    reasoning_tokens: int


class UsageShape(msgspec.Struct):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(msgspec.Struct):
    reason: str


class ResponseError(msgspec.Struct):
    """What ended a response; `code` is one of OpenAI's few words, and `type` is our own."""

    code: str
    message: str
    type: str
    param: str | None = None


class TextOptions(msgspec.Struct):
    format: dict[str, Any]
    verbosity: Literal["medium"] = "medium"


class ConversationName(msgspec.Struct):
    id: str


class Response(msgspec.Struct, kw_only=True):
    """A response; `dropped_turns` is how many of the oldest turns `truncation` left out, where it left out any."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status = "in_progress"
    background: bool = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    conversation: ConversationName | msgspec.UnsetType = msgspec.UNSET
    prompt_cache_key: str | None = None
    reasoning: dict[str, Any] | None = None
    safety_identifier: str | None = None
    service_tier: Literal["default"] = "default"
    store: bool = True
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    text: TextOptions
    tool_choice: Any = "auto"
    tools: list[Any] = []
    top_logprobs: int = 0
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: UsageShape | None = None
    user: str | None = None
    metadata: dict[str, str] = {}
    dropped_turns: int | msgspec.UnsetType = msgspec.UNSET


class Deleted(msgspec.Struct):
    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ItemList(msgspec.Struct):
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class InputTokens(msgspec.Struct):
    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class Compaction(msgspec.Struct):
    """A conversation in short: what its users said, and one item that stands for all else."""

    id: str
    created_at: int
    output: list[dict[str, Any]]
    usage: UsageShape
    object: Literal["response.compaction"] = "response.compaction"
