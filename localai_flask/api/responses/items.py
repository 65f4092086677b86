"""The items of a request's input: how they are read, kept, and turned into messages.

An item is kept as the JSON object that a client reads back later: complete, and with an id. Items that refer to others
stay as they are until the store has been asked.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from marshmallow import ValidationError

from localai_flask.api.fields import Either
from localai_flask.api.parsing import Unsupported
from localai_flask.chat.conversation import Message, ToolCall

Item = dict[str, Any]

ROLES = ("user", "assistant", "system", "developer")
TEXTS = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "refusal": "refusal",
    "summary_text": "text",
    "reasoning_text": "text",
}
"""Types of content parts that are text, and the key it stands under."""
MEDIA = {"input_image", "input_file", "input_audio", "input_video", "computer_screenshot"}
PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}
PREFIXES |= {"compaction": "cmp"}
LONGEST_ID = 255
"""As the store's column for it."""
SEALED = "localai-flask.1."
"""What the opaque form of a text begins with; it is an encoding that travels well, and keeps no secret."""


def new_id(kind: str) -> str:
    """Make an id; its prefix tells what it is of."""
    return f"{kind}_{uuid.uuid4().hex}"


def seal(text: str) -> str:
    """Return the opaque form of a text, for `encrypted_content`."""
    return SEALED + base64.urlsafe_b64encode(text.encode()).decode()


def unseal(sealed: str) -> str:
    """Read what `seal` has made; raise `ValueError` if it is something else."""
    if not sealed.startswith(SEALED):
        raise ValueError
    try:
        return base64.urlsafe_b64decode(sealed.removeprefix(SEALED).encode()).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ValueError from error


class Input(Either):
    """A text, which is a user's message, or a list of items."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[Item]:
        if isinstance(value, str):
            return [_message({"role": "user", "content": value})]
        if not isinstance(value, list):
            raise ValidationError("must be a string or a list of items.")
        items = []
        for index, entry in enumerate(value):
            try:
                items.append(_item(entry))
            except ValidationError as error:
                raise ValidationError({index: error.messages}) from None
        return items


def _item(entry: Any) -> Item:
    if not isinstance(entry, dict):
        raise ValidationError("must be an object.")
    kind = entry.get("type")
    if kind is None:
        kind = "message" if "role" in entry else "item_reference"
    if not isinstance(kind, str):
        raise ValidationError({"type": ["must be a string."]})
    if kind not in READERS:
        if kind.endswith(("_call", "_call_output")) or kind.startswith("mcp_"):
            raise ValidationError({"type": [Unsupported(f"is {kind}, of a tool that this server does not host.")]})
        raise ValidationError({"type": [f"must be one of: {', '.join(READERS)}."]})
    return READERS[kind](entry)


def _message(entry: Item) -> Item:
    role = _text(entry, "role")
    if role not in ROLES:
        raise ValidationError({"role": [f"must be one of: {', '.join(ROLES)}."]})
    parts = _parts(entry.get("content"), "content", "output_text" if role == "assistant" else "input_text")
    return {**_head(entry, "message"), "role": role, "content": parts}


def _function_call(entry: Item) -> Item:
    names = {key: _text(entry, key) for key in ("call_id", "name")}
    arguments = entry.get("arguments")
    if not isinstance(arguments, str):
        raise ValidationError({"arguments": ["must be a string."]})
    return {**_head(entry, "function_call"), **names, "arguments": arguments}


def _function_call_output(entry: Item) -> Item:
    output = entry.get("output")
    if not isinstance(output, str):
        output = _parts(output, "output", "input_text")
    return {**_head(entry, "function_call_output"), "call_id": _text(entry, "call_id"), "output": output}


def _reasoning(entry: Item) -> Item:
    item = {**_head(entry, "reasoning"), "summary": _parts(entry.get("summary") or [], "summary", "summary_text")}
    if entry.get("content") is not None:
        item["content"] = _parts(entry["content"], "content", "reasoning_text")
    if entry.get("encrypted_content") is not None:
        item["encrypted_content"] = _sealed(entry)
    return item


def _compaction(entry: Item) -> Item:
    return {**_head(entry, "compaction"), "encrypted_content": _sealed(entry)}


def _item_reference(entry: Item) -> Item:
    return {"type": "item_reference", "id": _text(entry, "id")}


READERS: dict[str, Callable[[Item], Item]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _function_call_output,
    "reasoning": _reasoning,
    "compaction": _compaction,
    "item_reference": _item_reference,
}


def _head(entry: Item, kind: str) -> Item:
    id = entry.get("id")
    if id is not None and not (isinstance(id, str) and len(id) <= LONGEST_ID and "\0" not in id):
        raise ValidationError({"id": [f"must be a string of at most {LONGEST_ID} characters, without NUL."]})
    return {"type": kind, "id": id or new_id(PREFIXES[kind]), "status": "completed"}


def _text(entry: Item, key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValidationError({key: ["must be a string that is not empty." if key in entry else "is required."]})
    return value


def _sealed(entry: Item) -> str:
    sealed = entry.get("encrypted_content")
    try:
        unseal(sealed if isinstance(sealed, str) else "")
    except ValueError:
        raise ValidationError({"encrypted_content": ["must be what this server has given out."]}) from None
    assert isinstance(sealed, str)
    return sealed


def _parts(content: Any, key: str, kind: str) -> list[Item]:
    """Read content; a string becomes one part of this kind."""
    if isinstance(content, str):
        content = [{"type": kind, "text": content}]
    if not isinstance(content, list):
        raise ValidationError({key: ["must be a string or a list of content parts."]})
    return [_part(part, key, index, kind) for index, part in enumerate(content)]


def _part(part: Any, key: str, index: int, usual: str) -> Item:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise ValidationError({key: {index: ["must be an object with a `type`."]}})
    if kind in MEDIA:
        raise ValidationError({key: {index: [Unsupported(f"is of type {kind}, but this model reads text only.")]}})
    if kind not in TEXTS:
        raise ValidationError({key: {index: {"type": [f"must be one of: {', '.join(TEXTS)}."]}}})
    text = part.get(TEXTS[kind])
    if not isinstance(text, str):
        raise ValidationError({key: {index: {TEXTS[kind]: ["must be a string."]}}})
    if kind == "refusal":
        return {"type": kind, "refusal": text}
    read = {"type": usual, "text": text}
    return {**read, "annotations": []} if usual == "output_text" else read


def to_messages(items: Sequence[Item]) -> list[Message]:
    """Turn items into messages; what an assistant thought, said and called in a row is one message.

    Raises `KeyError` for no item that was read by `Input`.
    """
    messages: list[Message] = []
    names: dict[str, str] = {}
    turn = _Turn()
    for item in items:
        match item["type"]:
            case "reasoning":
                turn = turn if not turn.has_spoken else _end(turn, messages)
                turn.thoughts.append(_thoughts(item))
            case "message" if item["role"] == "assistant":
                turn = turn if not turn.has_spoken else _end(turn, messages)
                turn.texts.append(_joined(item["content"]))
            case "function_call":
                turn.calls.append(ToolCall(item["call_id"], item["name"], item["arguments"]))
                names[item["call_id"]] = item["name"]
            case "function_call_output":
                turn = _end(turn, messages)
                call_id, output = item["call_id"], item["output"]
                text = output if isinstance(output, str) else _joined(output)
                messages.append(Message(role="tool", content=text, tool_call_id=call_id, name=names.get(call_id, "")))
            case "compaction":
                turn = _end(turn, messages)
                text = f"Summary of the conversation so far:\n{unseal(item['encrypted_content'])}"
                messages.append(Message(role="user", content=text))
            case "message":
                turn = _end(turn, messages)
                messages.append(Message(role=item["role"], content=_joined(item["content"])))
    _end(turn, messages)
    return messages


class _Turn:
    """What an assistant did in a row."""

    def __init__(self) -> None:
        self.thoughts: list[str] = []
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []

    @property
    def has_spoken(self) -> bool:
        return bool(self.texts or self.calls)


def _end(turn: _Turn, messages: list[Message]) -> _Turn:
    if turn.has_spoken or turn.thoughts:
        message = Message(
            role="assistant",
            content="".join(turn.texts),
            reasoning="\n".join(filter(None, turn.thoughts)),
            tool_calls=tuple(turn.calls),
        )
        messages.append(message)
    return _Turn()


def _thoughts(item: Item) -> str:
    if sealed := item.get("encrypted_content"):
        return unseal(sealed)
    return _joined(item.get("content") or item["summary"])


def _joined(parts: Iterable[Item]) -> str:
    return "".join(part[TEXTS[part["type"]]] for part in parts)
