"""The messages and tools of a chat request: their schemas, and what they become."""

from __future__ import annotations

from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.fields import (
    Either,
    Flag,
    Many,
    Mapping,
    Object,
    Refused,
    RequestSchema,
    Text,
    not_empty,
    one_of,
)
from localai_flask.api.parsing import Unsupported
from localai_flask.chat.conversation import Message, Tool, ToolCall

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TEXT_PARTS = {"text": "text", "refusal": "refusal"}
"""Types of content parts that are text, and the key it stands under."""
OTHER_PARTS = {"image_url", "image", "input_image", "input_audio", "audio_url", "audio", "video_url", "video"}
OTHER_PARTS |= {"file", "input_file"}


class ContentField(Either):
    """Text, or a list of parts, whose texts are joined."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise ValidationError("must be a string or a list of content parts.")
        return "".join(_text_of(index, part) for index, part in enumerate(value))


def _text_of(index: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise ValidationError({index: ["must be an object with a `type`."]})
    if kind in OTHER_PARTS:
        raise ValidationError({index: [Unsupported(f"is of type {kind}, but this model reads text only.")]})
    if kind not in TEXT_PARTS:
        raise ValidationError({index: {"type": [f"must be one of: {', '.join(TEXT_PARTS)}."]}})
    text = part.get(TEXT_PARTS[kind])
    if not isinstance(text, str):
        raise ValidationError({index: {TEXT_PARTS[kind]: ["must be a string."]}})
    return text


class FunctionCallSchema(RequestSchema):
    name = Text(required=True, validate=not_empty())
    arguments = Text(load_default="")


class ToolCallSchema(RequestSchema):
    id = Text(load_default="")
    type = Text(load_default="function", validate=one_of("function"))
    function = Object(FunctionCallSchema, required=True)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> ToolCall:
        return ToolCall(data["id"], data["function"]["name"], data["function"]["arguments"])


class MessageSchema(RequestSchema):
    role = Text(required=True, validate=one_of(*ROLES))
    content = ContentField(
        metadata={"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]}
    )
    name = Text(load_default="")
    reasoning = Text(load_default="")
    reasoning_content = Text(load_default="")
    tool_calls = Many(fields.Nested(ToolCallSchema))
    function_call = Object(FunctionCallSchema)
    tool_call_id = Text(load_default="")
    audio = Refused("refers to audio, but this server speaks text only.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Message:
        role, calls = data["role"], list(data.get("tool_calls", ()))
        if call := data.get("function_call"):
            calls.append(ToolCall("", call["name"], call["arguments"]))
        if "content" not in data and role != "assistant":
            raise ValidationError({"content": ["must be a string or a list of content parts."]})
        if "content" not in data and not calls:
            raise ValidationError({"content": ["is required in an assistant message without `tool_calls`."]})
        if role == "tool" and not data["tool_call_id"]:
            raise ValidationError({"tool_call_id": ["is required in a tool message."]})
        return Message(
            role="tool" if role == "function" else role,
            content=data.get("content", ""),
            name=data["name"],
            reasoning=data["reasoning"] or data["reasoning_content"],
            tool_calls=tuple(calls) if role == "assistant" else (),
            tool_call_id=data["tool_call_id"],
        )


class FunctionSchema(RequestSchema):
    name = Text(required=True, validate=not_empty())
    description = Text(load_default="")
    parameters = Mapping()
    strict = Refused("asks for guaranteed arguments, which this server cannot give; leave it out or send false.")


class ToolSchema(RequestSchema):
    type = Text(required=True, validate=one_of("function"))
    function = Object(FunctionSchema, required=True)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Tool:
        function = data["function"]
        return Tool(name=function["name"], description=function["description"], parameters=function.get("parameters"))


class ToolChoice(Either):
    """`auto` or `none`; what would force a call is refused."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if value in ("auto", "none"):
            return str(value)
        if value == "required" or isinstance(value, dict):
            raise ValidationError([Unsupported("cannot force a call on this server; send `auto` or `none`.")])
        raise ValidationError("must be `auto`, `none`, `required` or an object.")


class ToolFields(RequestSchema):
    """The fields of a chat request about tools."""

    tools = Many(fields.Nested(ToolSchema))
    tool_choice = ToolChoice(metadata={"oneOf": [{"type": "string", "enum": ["auto", "none"]}]})
    parallel_tool_calls = Flag(load_default=True)
    functions = Refused("is deprecated and not supported; send `tools`.")
    function_call = Refused("is deprecated and not supported; send `tool_choice`.", harmless=("none", "auto"))
