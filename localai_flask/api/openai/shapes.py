"""The shapes of OpenAI's responses: encoded by msgspec when we answer, and shown as JSON Schema on the OpenAPI page."""

from __future__ import annotations

from typing import Literal

import msgspec

from localai_flask.api.answer.logprobs import Logprob
from localai_flask.api.answer.model_status import Architecture, ModelStatus


class AppliedTemplate(msgspec.Struct):
    prompt: str
    prompt_tokens: int


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int
    audio_tokens: int = 0


class CompletionTokensDetails(msgspec.Struct):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class UsageShape(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails = msgspec.field(default_factory=CompletionTokensDetails)


class Timings(msgspec.Struct):
    """Tokens and milliseconds: of the prompt as far as it was not cached, and of the answer; drafted tokens if any."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float
    draft_n: int | msgspec.UnsetType = msgspec.UNSET
    draft_n_accepted: int | msgspec.UnsetType = msgspec.UNSET


class ChatLogprobs(msgspec.Struct):
    content: list[Logprob]
    refusal: None = None


class CompletionLogprobs(msgspec.Struct):
    """The first token of an echoed prompt follows nothing, so its entries are null."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class FunctionShape(msgspec.Struct):
    name: str
    arguments: str


class ToolCallShape(msgspec.Struct, tag="function"):
    id: str
    function: FunctionShape


class CustomShape(msgspec.Struct):
    name: str
    input: str


class CustomCallShape(msgspec.Struct, tag="custom"):
    id: str
    custom: CustomShape


class AssistantMessage(msgspec.Struct):
    content: str | None
    tool_calls: list[ToolCallShape | CustomCallShape] | msgspec.UnsetType = msgspec.UNSET
    function_call: FunctionShape | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    reasoning: str | msgspec.UnsetType = msgspec.UNSET
    role: Literal["assistant"] = "assistant"
    refusal: None = None


FinishWord = Literal["stop", "length", "tool_calls", "function_call"]


class ChatChoice(msgspec.Struct):
    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishWord


class ChatCompletion(msgspec.Struct):
    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageShape
    timings: Timings
    service_tier: Literal["default"] = "default"
    object: Literal["chat.completion"] = "chat.completion"


class CompletionChoice(msgspec.Struct):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishWord


class Completion(msgspec.Struct):
    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: UsageShape
    timings: Timings
    object: Literal["text_completion"] = "text_completion"


class EditChoice(msgspec.Struct):
    index: int
    text: str
    finish_reason: FinishWord


class Edit(msgspec.Struct):
    id: str
    created: int
    model: str
    choices: list[EditChoice]
    usage: UsageShape
    object: Literal["edit"] = "edit"


class ModelMeta(msgspec.Struct, omit_defaults=True):
    """What a GGUF file says, by llama-server's names; `n_ctx` is the context of one request, `size` in bytes."""

    n_ctx: int = 0
    n_ctx_train: int = 0
    n_embd: int = 0
    n_vocab: int = 0
    n_params: int = 0
    size: int = 0


class Model(msgspec.Struct):
    """A model; `state` tells whether it is loaded: cold, loading, ready, unloading, failed, or still downloading.

    `given_up` is there if it runs without something, as loading it in full has failed, and says how to get that back.
    `size` is that of its files in bytes, None if they are not there. `context_length` is that of one request, in
    tokens, None if nobody knows it before the model is loaded. Anthropic's clients read the same list; `display_name`,
    `created_at` and `type` are for them. `status`, `architecture` and `meta` are for those of llama-server's router. An
    adapter's `parent` is the model whose weights it changes, and `root` its own files, as vLLM tells them.
    """

    id: str
    display_name: str
    created: int
    created_at: str
    state: str
    context_length: int | None
    capabilities: list[str]
    status: ModelStatus
    architecture: Architecture
    backend: str
    size: int | None
    given_up: str | msgspec.UnsetType = msgspec.UNSET
    parent: str | msgspec.UnsetType = msgspec.UNSET
    root: str | msgspec.UnsetType = msgspec.UNSET
    meta: ModelMeta | msgspec.UnsetType = msgspec.UNSET
    owned_by: str = "localai-flask"
    object: Literal["model"] = "model"
    type: Literal["model"] = "model"


class ModelList(msgspec.Struct):
    """All models; what stands beside `data` is for Anthropic's clients, who read lists in pages."""

    data: list[Model]
    first_id: str | None
    last_id: str | None
    has_more: bool = False
    object: Literal["list"] = "list"
