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
from localai_flask.api.tools import Choice
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
        if role == "function" and not data["name"]:
            raise ValidationError({"name": ["is required in a function message."]})
        return Message(
            role="tool" if role == "function" else role,
            content=data.get("content", ""),
            name=data["name"],
            reasoning=data["reasoning"] or data["reasoning_content"],
            tool_calls=tuple(calls) if role == "assistant" else (),
            tool_call_id=data["tool_call_id"] if role == "tool" else "",
        )


class FunctionSchema(RequestSchema):
    name = Text(required=True, validate=not_empty())
    description = Text(load_default="")
    parameters = Mapping()
    strict = Flag(load_default=False)


class LegacyFunctionSchema(FunctionSchema):
    """A function as it was given before there were tools."""

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Tool:
        return _tool(data)


def _tool(function: dict[str, Any]) -> Tool:
    return Tool(
        name=function["name"],
        description=function["description"],
        parameters=function.get("parameters"),
        strict=function["strict"],
    )


class ToolSchema(RequestSchema):
    type = Text(required=True, validate=one_of("function"))
    function = Object(FunctionSchema, required=True)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Tool:
        return _tool(data["function"])


class ToolChoice(Either):
    """A word, a function by its name, or a list of allowed functions."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Choice:
        if value in ("auto", "none", "required"):
            return Choice(value)
        if not isinstance(value, dict):
            raise ValidationError("must be `auto`, `none`, `required` or an object.")
        if value.get("type") == "function":
            return Choice("required", frozenset({_function_name(value)}), once=True)
        if value.get("type") == "allowed_tools":
            return self._allowed(value.get("allowed_tools"))
        if value.get("type") == "custom":
            raise ValidationError([Unsupported("names a custom tool, which this server does not have.")])
        raise ValidationError({"type": ["must be one of: function, allowed_tools."]})

    def _allowed(self, value: Any) -> Choice:
        tools = value.get("tools") if isinstance(value, dict) else None
        if not isinstance(tools, list) or not tools:
            raise ValidationError({"allowed_tools": ["must be an object with a list of `tools`."]})
        mode = value.get("mode", "auto")
        if mode not in ("auto", "required"):
            raise ValidationError({"allowed_tools": {"mode": ["must be one of: auto, required."]}})
        return Choice(mode, frozenset(map(_function_name, tools)))


def _function_name(value: Any) -> str:
    function = value.get("function") if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise ValidationError('must name functions as `{"type": "function", "function": {"name": …}}`.')
    return name


class FunctionChoice(Either):
    """The choice as it was made before there were tools: a word, or a function's name in an object."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Choice:
        if value in ("auto", "none"):
            return Choice(value)
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str) or not name:
            raise ValidationError('must be `auto`, `none` or `{"name": …}`.')
        return Choice("required", frozenset({name}), once=True)


class ToolFields(RequestSchema):
    """The fields of a chat request about tools."""

    tools = Many(fields.Nested(ToolSchema), load_default=list)
    tool_choice = ToolChoice(
        metadata={"oneOf": [{"type": "string", "enum": ["auto", "none", "required"]}, {"type": "object"}]}
    )
    parallel_tool_calls = Flag()
    functions = Many(fields.Nested(LegacyFunctionSchema))
    function_call = FunctionChoice(
        metadata={"oneOf": [{"type": "string", "enum": ["auto", "none"]}, {"type": "object"}]}
    )
