"""Ollama's messages and tools, and the house's that they become."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.conversation.images import read_image
from localai_flask.api.conversation.media import shown_media
from localai_flask.api.conversation.pairing import UnansweredCalls, UnknownResult, paired
from localai_flask.api.request.fields import (
    Either,
    Flag,
    Many,
    Mapping,
    Object,
    RequestSchema,
    Text,
    Whole,
    not_empty,
    one_of,
)
from localai_flask.api.request.parsing import first_error
from localai_flask.chat.conversation import Message, Tool, ToolCall
from localai_flask.chat.images import ImageSource

ROLES = ("system", "user", "assistant", "tool")
IMAGES = {"type": "array", "items": {"type": "string"}, "description": "Images in base64."}


class FunctionSchema(RequestSchema):
    name = Text(required=True, validate=not_empty())
    description = Text(load_default="")
    parameters = Mapping()
    strict = Flag(load_default=False)


class ToolSchema(RequestSchema):
    type = Text(load_default="function", validate=one_of("function"))
    function = Object(FunctionSchema, required=True)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Tool:
        function = data["function"]
        parameters = function.get("parameters")
        return Tool(**{**function, "parameters": parameters})


class Arguments(Either):
    """An object; or its JSON, as OpenAI's API has it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, dict | str):
            raise ValidationError("must be an object.")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class CalledSchema(RequestSchema):
    index = Whole()
    name = Text(required=True, validate=not_empty())
    arguments = Arguments(load_default="{}", metadata={"type": "object"})


class CallSchema(RequestSchema):
    id = Text(load_default="")
    function = Object(CalledSchema, required=True)


class Images(Either):
    """Images in base64, with or without what a data URL has before it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValidationError("must be a list of images in base64.")
        return [_image_part(each) for each in value]


class MessageSchema(RequestSchema):
    role = Text(required=True, validate=one_of(*ROLES))
    content = Text(load_default="")
    thinking = Text(load_default="")
    images = Images(load_default=list, metadata=IMAGES)
    tool_calls = Many(fields.Nested(CallSchema), load_default=list)
    tool_name = Text(load_default="")
    name = Text(load_default="", metadata={"description": "As `tool_name`."})
    tool_call_id = Text(load_default="")


def read_conversation(entries: Sequence[MappingOf[str, Any]]) -> tuple[Message, ...]:
    """Read messages, with each call's results behind it; raise `ValidationError` for what does not fit together."""
    messages = [_read(entry, index == len(entries) - 1, index) for index, entry in enumerate(entries)]
    messages = _with_call_ids(messages)
    try:
        return paired(messages) if messages else ()
    except UnansweredCalls as error:
        problem = f"must be followed by tool messages with the results; there are none for: {error}."
        raise ValidationError({"messages": {error.index: {"tool_calls": [problem]}}}) from None
    except UnknownResult as error:
        problem = f"is the result of {str(error)!r}, of which no call stands before it."
        raise ValidationError({"messages": {error.index: {"tool_name": [problem]}}}) from None


def user_message(text: str, images: Sequence[MappingOf[str, Any]]) -> Message:
    """Make the message that asks a prompt; raise `ValidationError` for an image that is none."""
    sources = _read_images(images)
    return Message(role="user", content=_marks(sources) + text, images={each.key: each for each in sources})


def _read(entry: MappingOf[str, Any], is_now: bool, index: int) -> Message:
    try:
        before, images = _seen(entry["images"], is_now)
    except ValidationError as error:
        raise ValidationError({"messages": {index: error.messages}}) from None
    calls = [(call["id"], call["function"]) for call in entry["tool_calls"]]
    return Message(
        role=entry["role"],
        content=before + entry["content"],
        reasoning=entry["thinking"],
        name=entry["tool_name"] or entry["name"],
        tool_calls=tuple(ToolCall(id, function["name"], function["arguments"]) for id, function in calls),
        tool_call_id=entry["tool_call_id"],
        images=images,
    )


def _with_call_ids(messages: Sequence[Message]) -> list[Message]:
    """Name calls, and the calls that results are of which say nothing: in their order, as Ollama's clients send them.

    Such a result is that of the first call which has none yet.
    """
    waiting: deque[str] = deque()
    named: list[Message] = []
    for index, message in enumerate(messages):
        if message.tool_calls:
            calls = tuple(
                call if call.id else dataclasses.replace(call, id=f"call_{index}_{number}")
                for number, call in enumerate(message.tool_calls)
            )
            message = dataclasses.replace(message, tool_calls=calls)
            waiting = deque(call.id for call in calls)
        elif message.role == "tool" and not (message.tool_call_id or message.name) and waiting:
            message = dataclasses.replace(message, tool_call_id=waiting.popleft())
        named.append(message)
    return named


def _seen(parts: Sequence[MappingOf[str, Any]], is_now: bool) -> tuple[str, dict[str, ImageSource]]:
    """Return the marks of a message's images and what they are; in the past, one that is none is shown by its name."""
    if is_now:
        sources = _read_images(parts)
        return _marks(sources), {each.key: each for each in sources}
    text, images = "", {}
    for part in parts:
        text += shown_media(part)
        try:
            source = read_image(part)
        except ValidationError:
            continue
        images[source.key] = source
    return text, images


def _read_images(parts: Sequence[MappingOf[str, Any]]) -> list[ImageSource]:
    sources = []
    for index, part in enumerate(parts):
        try:
            sources.append(read_image(part))
        except ValidationError as error:
            raise ValidationError({"images": {index: [first_error(error.messages)[1]]}}) from None
    return sources


def _marks(sources: Sequence[ImageSource]) -> str:
    return "".join(source.mark for source in sources)


def _image_part(value: str) -> dict[str, Any]:
    if value.startswith(("data:", "https://", "http://")):
        return {"type": "image", "image": value}
    return {"type": "image", "source": {"type": "base64", "data": value}}
