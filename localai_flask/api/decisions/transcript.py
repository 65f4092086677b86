"""What is to be judged, as one text: a conversation is shown to the model as what others have said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from marshmallow import ValidationError

from localai_flask.api.conversation.images import images_in, read_image
from localai_flask.api.request.fields import is_deeper
from localai_flask.api.request.parsing import Unsupported
from localai_flask.chat.conversation import Conversation, Message

T = TypeVar("T")
DEEPEST = 32
"""As in OpenAI's API."""
ROLES = ("user", "developer", "system", "assistant")
TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
OUTPUTS = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}


def conversation_of(value: Any) -> Conversation:
    """Make the conversation of a text or a list of items; raise `ValidationError` with what is wrong with it.

    System and developer messages that come first are instructions to whom is asked.
    """
    if isinstance(value, str) and value:
        return Conversation(messages=(Message(role="user", content=value),))
    if not isinstance(value, list) or not value:
        raise ValidationError("must be a string that is not empty, or a list of messages, calls and their outputs.")
    _check_pairs(value)
    shown = [_of(index, _said, item) for index, item in enumerate(value)]
    begin = next((at for at, (role, _) in enumerate(shown) if role not in ("system", "developer")), len(shown))
    rules, said = shown[:begin], shown[begin:]
    if not said:
        raise ValidationError("must have more than instructions: what is to be judged.")
    alone = len(said) == 1 and said[0][0] == "user"
    text = said[0][1] if alone else "\n\n".join(f"{role.capitalize()}: {text}" for role, text in said)
    system = [Message(role="system", content="\n\n".join(text for _, text in rules))] if rules else []
    return Conversation(messages=(*system, Message(role="user", content=text, images=images_in(value))))


def text_of(value: Any) -> str:
    """Return a text, or that of parts of text and JSON; raise `ValidationError` for all else."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            if isinstance(part, dict) and part.get("type") == "input_image":
                raise ValidationError({index: [Unsupported("is an image; send it in `input`, and ask about it here.")]})
    found = _content(value)
    if not found:
        raise ValidationError("must not be empty.")
    return found


def json_text(value: Any) -> str:
    """Write JSON as a text, and a text as it is; raise `ValidationError` if it is too deep."""
    if is_deeper(value, DEEPEST):
        raise ValidationError(f"is nested deeper than {DEEPEST}.")
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _check_pairs(items: Sequence[Any]) -> None:
    """Raise `ValidationError` for an output whose call has not come before it."""
    calls: set[tuple[str, str]] = set()
    for index, item in enumerate(items):
        kind = item.get("type") if isinstance(item, Mapping) else None
        if not isinstance(kind, str):
            continue
        if kind in CALLS:
            calls.add((kind, str(item.get("call_id"))))
        if kind in OUTPUTS and (OUTPUTS[kind], str(item.get("call_id"))) not in calls:
            raise ValidationError({index: {"call_id": ["must be that of a call which comes before it."]}})


def _said(item: Any) -> tuple[str, str]:
    if not isinstance(item, Mapping):
        raise ValidationError("must be an object.")
    kind = str(item.get("type", "message"))
    if kind == "message":
        role = item.get("role")
        if role not in ROLES:
            raise ValidationError({"role": [f"must be one of: {', '.join(ROLES)}."]})
        return role, _of("content", _content, item.get("content"))
    if kind in CALLS:
        name = item.get("name")
        if not isinstance(name, str) or not name:
            raise ValidationError({"name": ["must be a string that is not empty."]})
        return "assistant", f"(calls {name}) {_of(CALLS[kind], _content, item.get(CALLS[kind]))}"
    if kind in OUTPUTS:
        return "tool", _of("output", _content, item.get("output"))
    raise ValidationError({"type": [f"must be one of: message, {', '.join((*CALLS, *OUTPUTS))}."]})


def _of(key: Any, read: Callable[[Any], T], value: Any) -> T:
    """Read a part of something; what is wrong with it is said under its key."""
    try:
        return read(value)
    except ValidationError as error:
        raise ValidationError({key: error.messages}) from None


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValidationError("must be a string or a list of parts.")
    return "\n".join(_part(index, part) for index, part in enumerate(value))


def _part(index: int, part: Any) -> str:
    kind = str(part.get("type")) if isinstance(part, Mapping) else None
    if kind in TEXT_PARTS:
        text = part.get(TEXT_PARTS[kind])
        if not isinstance(text, str):
            raise ValidationError({index: {TEXT_PARTS[kind]: ["must be a string."]}})
        return text
    if kind == "input_json":
        if not isinstance(part.get("data"), dict | list):
            raise ValidationError({index: {"data": ["must be an object or a list of objects."]}})
        return _of(index, json_text, part["data"])
    if kind == "input_image":
        return _of(index, lambda image: read_image(image).mark, part)
    raise ValidationError(
        {index: {"type": [f"must be one of: {', '.join((*TEXT_PARTS, 'input_json', 'input_image'))}."]}}
    )
