"""The shapes of Ollama's responses: encoded by msgspec, and shown as JSON Schema on the OpenAPI page."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from localai_flask.api.answer.logprobs import Logprob

DoneReason = Literal["stop", "length", "load", "unload"]


class ErrorResponse(msgspec.Struct):
    """What went wrong, for people (`error`), and, beyond Ollama's API, for programs."""

    error: str
    code: str
    n_prompt_tokens: int | UnsetType = UNSET
    n_ctx: int | UnsetType = UNSET


class FunctionCall(msgspec.Struct):
    index: int
    name: str
    arguments: dict[str, Any]


class ToolCall(msgspec.Struct):
    id: str
    function: FunctionCall


class AnswerMessage(msgspec.Struct):
    content: str = ""
    thinking: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    role: Literal["assistant"] = "assistant"


class Measured(msgspec.Struct, kw_only=True):
    """How an answer ended: times in nanoseconds, and tokens.

    `prompt_eval_count` counts the whole prompt, as usage does everywhere; of these, `prompt_cached_count` came out of
    the cache and took none of the time. `dropped_turns` is how many of the oldest turns were left out, if any were.
    """

    model: str
    created_at: str
    done: bool
    done_reason: DoneReason | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    prompt_cached_count: int | UnsetType = UNSET
    dropped_turns: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    logprobs: list[Logprob] | UnsetType = UNSET


class ChatAnswer(Measured, kw_only=True):
    """A whole answer to a conversation, or one line of a stream."""

    message: AnswerMessage


class Generated(Measured, kw_only=True):
    """A whole continuation of a prompt, or one line of a stream."""

    response: str
    thinking: str | UnsetType = UNSET


class Embeddings(msgspec.Struct):
    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OneEmbedding(msgspec.Struct):
    embedding: list[float]


class Version(msgspec.Struct):
    version: str


class Details(msgspec.Struct):
    """What kind of model it is; what its files do not say is empty."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class ListedModel(msgspec.Struct):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details
    capabilities: list[str]


class ModelList(msgspec.Struct):
    models: list[ListedModel]


class RunningModel(msgspec.Struct):
    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int


class RunningList(msgspec.Struct):
    models: list[RunningModel]


class Shown(msgspec.Struct):
    """`model_info` is what the model's file says of itself."""

    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str
    license: str | UnsetType = UNSET
    system: str | UnsetType = UNSET


class PullProgress(msgspec.Struct, omit_defaults=True):
    """How far a download is; `total` and `completed` are bytes."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0
