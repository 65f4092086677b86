"""The bodies of OpenAI's requests, and the calls they become.

A field that we know and cannot honour is refused by name; one that we do not know is ignored.
"""

from __future__ import annotations

from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.fields import Either, Flag, Many, Mapping, Refused, Text, Whole, not_empty
from localai_flask.api.openai.calls import ChatCall, CompletionCall, EditCall
from localai_flask.api.openai.messages import MessageSchema, ToolFields
from localai_flask.api.openai.sampling import (
    MAX_SEQUENCES,
    NOT_YET,
    ResponseFormat,
    SamplingRequest,
    StreamingRequest,
    common,
    invalid,
)
from localai_flask.chat.conversation import Conversation

MAX_TOP_LOGPROBS = 20
MAX_TOKEN_ID = 2**31 - 1
TEXT_ONLY = "asks for audio, but this server speaks text only."


class ChatRequest(StreamingRequest, ToolFields):
    messages = Many(fields.Nested(MessageSchema), required=True, validate=not_empty())
    max_completion_tokens = Whole(1)
    logprobs = Flag(load_default=False)
    top_logprobs = Whole(0, MAX_TOP_LOGPROBS)
    reasoning_effort = Text()
    chat_template_kwargs = Mapping()
    response_format = ResponseFormat()
    audio = Refused(TEXT_ONLY)
    modalities = Refused(TEXT_ONLY, harmless=(["text"],))
    web_search_options = Refused("asks for a web search, which this server does not do.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> ChatCall:
        shared = common(data)
        if "max_completion_tokens" in data:
            shared["asked"]["max_tokens"] = data["max_completion_tokens"]
        if data["logprobs"]:
            shared["asked"]["top_logprobs"] = data.get("top_logprobs", 0)
        elif data.get("top_logprobs"):
            raise invalid("top_logprobs", "needs `logprobs` to be true.")
        kwargs = dict(data.get("chat_template_kwargs", {}))
        if "reasoning_effort" in data:
            kwargs["reasoning_effort"] = data["reasoning_effort"]
        conversation = Conversation(
            messages=tuple(data["messages"]),
            tools=tuple(data.get("tools", ())) if data.get("tool_choice") != "none" else (),
            parallel_tool_calls=data["parallel_tool_calls"],
            template_kwargs=kwargs,
        )
        return ChatCall(conversation=conversation, **shared)


class PromptField(Either):
    """Text, token ids, or a list of either."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str | tuple[int, ...], ...]:
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not value:
            raise ValidationError("must be a string, a list of token ids, or a list of those that is not empty.")
        if all(map(_is_token, value)):
            return (tuple(value),)
        return tuple(_prompt(index, entry) for index, entry in enumerate(value))


def _prompt(index: int, value: Any) -> str | tuple[int, ...]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(map(_is_token, value)):
        return tuple(value)
    raise ValidationError({index: ["must be a string or a list of token ids."]})


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKEN_ID


class CompletionRequest(StreamingRequest):
    prompt = PromptField(
        required=True, metadata={"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    )
    echo = Flag()
    logprobs = Whole(0, MAX_TOP_LOGPROBS)
    best_of = Whole(1)
    suffix = Refused(NOT_YET)
    response_format = ResponseFormat()

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> CompletionCall:
        shared = common(data)
        prompts: tuple[str | tuple[int, ...], ...] = data["prompt"]
        if data.get("best_of") not in (None, data.get("n", 1)):
            raise invalid("best_of", "must equal `n`: this server does not make choices that it does not return.")
        if len(prompts) * data.get("n", 1) > MAX_SEQUENCES:
            raise invalid("prompt", f"asks for more than {MAX_SEQUENCES} completions at once.")
        if "logprobs" in data:
            shared["asked"]["top_logprobs"] = data["logprobs"]
        return CompletionCall(prompts=prompts, echo=data.get("echo"), **shared)


class Inputs(Either):
    """A text or a list of texts."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise ValidationError("must be a string or a list of strings.")
        return tuple(texts)


class EditRequest(SamplingRequest):
    instruction = Text(required=True, validate=not_empty())
    input = Inputs(
        load_default=("",), metadata={"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    )
    stream = Refused("is not possible for edits.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> EditCall:
        shared = common({**data, "stream": False})
        if len(data["input"]) * data.get("n", 1) > MAX_SEQUENCES:
            raise invalid("input", f"asks for more than {MAX_SEQUENCES} edits at once.")
        return EditCall(instruction=data["instruction"], inputs=data["input"], **shared)
