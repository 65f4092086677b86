"""The messages and tools of a chat request: their schemas, and what they become."""

from __future__ import annotations

from typing import Any, NamedTuple

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.answer.family_words import CHAT, LEGACY_CHAT
from localai_flask.api.conversation.custom_tools import InputFormat, as_arguments, custom_tool
from localai_flask.api.conversation.foreign_past import foreign_text
from localai_flask.api.conversation.media import MEDIA_READERS, WHAT_IS_READ, media_in, shown_media
from localai_flask.api.conversation.tool_choice import Choice
from localai_flask.api.request.fields import (
    Either,
    Flag,
    Many,
    Mapping,
    Noted,
    Object,
    RequestSchema,
    Text,
    not_empty,
    one_of,
)
from localai_flask.api.request.parsing import Unsupported
from localai_flask.chat.conversation import Message, Tool, ToolCall

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TEXT_PARTS = {"text": "text", "refusal": "refusal"}
"""Types of content parts that are text, and the key it stands under."""
OTHER_PARTS = {"input_audio", "audio_url", "audio", "video_url", "video"}


class ContentField(Either):
    """Text, or a list of parts, whose texts are joined; what is no text is shown by its name."""

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
    if kind in MEDIA_READERS:
        return shown_media(part)
    if kind not in TEXT_PARTS:
        return foreign_text(kind, part)
    text = part.get(TEXT_PARTS[kind])
    if not isinstance(text, str):
        raise ValidationError({index: {TEXT_PARTS[kind]: ["must be a string."]}})
    return text


def check_readable(content: Any) -> None:
    """Raise `ValidationError` if content, of the message that is asked now, has parts that the model cannot read."""
    for index, part in enumerate(content if isinstance(content, list) else ()):
        kind = part["type"]
        if kind in MEDIA_READERS:
            try:
                MEDIA_READERS[kind](part)
            except ValidationError as error:
                raise ValidationError({index: error.messages}) from None
        elif kind in OTHER_PARTS:
            raise ValidationError({index: [Unsupported(f"is of type {kind}; {WHAT_IS_READ}")]})
        elif kind not in TEXT_PARTS:
            raise ValidationError({index: {"type": [f"must be one of: {', '.join(TEXT_PARTS)}."]}})


class FunctionCallSchema(RequestSchema):
    name = Text(required=True, validate=not_empty())
    arguments = Text(load_default="")


class CustomCallSchema(RequestSchema):
    name = Text(required=True, validate=not_empty())
    input = Text(load_default="")


class ToolCallSchema(RequestSchema):
    id = Text(load_default="")
    type = Text(load_default="function", validate=one_of("function", "custom"))
    function = Object(FunctionCallSchema)
    custom = Object(CustomCallSchema)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> ToolCall:
        if data["type"] not in data:
            raise ValidationError({data["type"]: ["is required."]})
        if data["type"] == "custom":
            return ToolCall(data["id"], data["custom"]["name"], as_arguments(data["custom"]["input"]))
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
    refusal = Text(load_default="")
    audio = Noted("refers to an answer of the past, as another server has spoken it.")

    @marshmallow.post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: Any, **_: Any) -> Message:
        role, calls = data["role"], list(data.get("tool_calls", ()))
        if call := data.get("function_call"):
            calls.append(ToolCall("", call["name"], call["arguments"]))
        if "content" not in data and role != "assistant":
            raise ValidationError({"content": ["must be a string or a list of content parts."]})
        if role == "tool" and not data["tool_call_id"]:
            raise ValidationError({"tool_call_id": ["is required in a tool message."]})
        if role == "function" and not data["name"]:
            raise ValidationError({"name": ["is required in a function message."]})
        return Message(
            role="tool" if role == "function" else role,
            content=data.get("content", "") or data["refusal"],
            name=data["name"],
            reasoning=data["reasoning"] or data["reasoning_content"],
            tool_calls=tuple(calls) if role == "assistant" else (),
            tool_call_id=data["tool_call_id"] if role == "tool" else "",
            **media_in(original.get("content")),
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


class CustomToolSchema(RequestSchema):
    name = Text(required=True, validate=not_empty())
    description = Text(load_default="")
    format = InputFormat()


class ToolSchema(RequestSchema):
    """A function or a custom tool; of other types, which a server would have to run, the name only."""

    type = Text(required=True, validate=not_empty())
    function = Object(FunctionSchema)
    custom = Object(CustomToolSchema)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> OfferedTool:
        kind = data["type"]
        if kind not in ("function", "custom"):
            return OfferedTool(kind, None)
        if kind not in data:
            raise ValidationError({kind: ["is required."]})
        if kind == "function":
            return OfferedTool(kind, _tool(data["function"]))
        custom = data["custom"]
        return OfferedTool(kind, custom_tool(custom["name"], custom["description"], custom.get("format")))


class OfferedTool(NamedTuple):
    """A tool by its type; None where a server would have to run it."""

    type: str
    tool: Tool | None


class ToolChoice(Either):
    """A word, a function by its name, or a list of allowed functions."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Choice:
        if mode := CHAT.tool_choice(value):
            return Choice(mode)
        if not isinstance(value, dict):
            raise ValidationError("must be `auto`, `none`, `required` or an object.")
        kind = value.get("type")
        if kind in ("function", "custom"):
            return Choice("required", frozenset({_chosen_name(value)}), once=True)
        if kind == "allowed_tools":
            return self._allowed(value.get("allowed_tools"))
        if isinstance(kind, str) and kind:
            raise ValidationError({"type": [Unsupported(f"is {kind}, of a tool that this server does not host.")]})
        raise ValidationError({"type": ["must be one of: function, custom, allowed_tools."]})

    def _allowed(self, value: Any) -> Choice:
        tools = value.get("tools") if isinstance(value, dict) else None
        if not isinstance(tools, list) or not tools:
            raise ValidationError({"allowed_tools": ["must be an object with a list of `tools`."]})
        mode = value.get("mode", "auto")
        if mode not in ("auto", "required"):
            raise ValidationError({"allowed_tools": {"mode": ["must be one of: auto, required."]}})
        return Choice(mode, frozenset(map(_chosen_name, tools)))


def _chosen_name(value: Any) -> str:
    function = value.get("custom" if value.get("type") == "custom" else "function") if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise ValidationError('must name functions as `{"type": "function", "function": {"name": …}}`.')
    return name


class FunctionChoice(Either):
    """The choice as it was made before there were tools: a word, or a function's name in an object."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Choice:
        if mode := LEGACY_CHAT.tool_choice(value):
            return Choice(mode)
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
