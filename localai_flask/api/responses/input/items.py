"""The items of a request's input: how they are read and kept.

An item is kept as the JSON object that a client reads back later: complete, and with an id. Items that refer to others
stay as they are until the store has been asked. What this server cannot read is refused where it is the last item, as
that is what is asked; before that it is kept as it came.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError

from localai_flask.api.conversation.media import MEDIA_READERS, WHAT_IS_READ
from localai_flask.api.request.fields import Either
from localai_flask.api.request.parsing import Unsupported

Item = dict[str, Any]
Reader = Callable[[Item, bool], Item]
"""Reads an entry of its type; the flag says whether it is what is asked now."""

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
MEDIA = {"input_audio", "input_video", "computer_screenshot"}
PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}
PREFIXES |= {"compaction": "cmp", "custom_tool_call": "ctc", "custom_tool_call_output": "ctco"}
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


def unsealed(sealed: Any) -> str | None:
    """Return what `seal` has made opaque; None if it is something else, as what another server has encrypted."""
    if not isinstance(sealed, str) or not sealed.startswith(SEALED):
        return None
    try:
        return base64.urlsafe_b64decode(sealed.removeprefix(SEALED).encode()).decode()
    except (binascii.Error, UnicodeError):
        return None


class Input(Either):
    """A text, which is a user's message, or a list of items."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[Item]:
        if isinstance(value, str):
            return [_message({"role": "user", "content": value}, True)]
        if not isinstance(value, list):
            raise ValidationError("must be a string or a list of items.")
        items = []
        for index, entry in enumerate(value):
            try:
                items.append(_item(entry, is_now=index == len(value) - 1))
            except ValidationError as error:
                raise ValidationError({index: error.messages}) from None
        return items


def _item(entry: Any, is_now: bool) -> Item:
    if not isinstance(entry, dict):
        raise ValidationError("must be an object.")
    kind = entry.get("type")
    if kind is None:
        kind = "message" if "role" in entry else "item_reference"
    if not isinstance(kind, str):
        raise ValidationError({"type": ["must be a string."]})
    if kind in READERS:
        return READERS[kind](entry, is_now)
    if not is_now or kind.endswith("_output"):
        return {**entry, **_head(entry, kind), "status": entry.get("status") or "completed"}
    if kind.endswith("_call") or kind.startswith("mcp_"):
        raise ValidationError({"type": [Unsupported(f"is {kind}, of a tool that this server does not host.")]})
    raise ValidationError({"type": [Unsupported(f"is {kind}, which this server does not take as what is asked.")]})


def _message(entry: Item, is_now: bool) -> Item:
    role = _text(entry, "role")
    if role not in ROLES:
        raise ValidationError({"role": [f"must be one of: {', '.join(ROLES)}."]})
    usual = "output_text" if role == "assistant" else "input_text"
    parts = _parts(entry.get("content"), "content", usual, is_now and role != "assistant")
    return {**_head(entry, "message"), "role": role, "content": parts}


def _call(kind: str, key: str) -> Reader:
    """Make the reader of a call, whose text stands under `key`."""

    def read(entry: Item, _: bool) -> Item:
        names = {name: _text(entry, name) for name in ("call_id", "name")}
        if isinstance(namespace := entry.get("namespace"), str) and namespace:
            names["namespace"] = namespace
        text = entry.get(key)
        if not isinstance(text, str):
            raise ValidationError({key: ["must be a string."]})
        return {**_head(entry, kind), **names, key: text}

    return read


def _output(kind: str) -> Reader:
    """Make the reader of a result; parts of it that are no text do not keep an agent from going on."""

    def read(entry: Item, is_now: bool) -> Item:
        output = entry.get("output")
        if not isinstance(output, str):
            output = _parts(output, "output", "input_text")
        names = {key: entry[key] for key in ("name", "namespace") if isinstance(entry.get(key), str)}
        call_id = _text(entry, "call_id") if is_now and not names.get("name") else entry.get("call_id")
        return {**_head(entry, kind), **names, "call_id": call_id if isinstance(call_id, str) else "", "output": output}

    return read


def _reasoning(entry: Item, _: bool) -> Item:
    item = {**_head(entry, "reasoning"), "summary": _parts(entry.get("summary") or [], "summary", "summary_text")}
    if entry.get("content") is not None:
        item["content"] = _parts(entry["content"], "content", "reasoning_text")
    if isinstance(entry.get("encrypted_content"), str):
        item["encrypted_content"] = entry["encrypted_content"]
    return item


def _compaction(entry: Item, is_now: bool) -> Item:
    sealed = entry.get("encrypted_content")
    if unsealed(sealed) is None and is_now:
        raise ValidationError({"encrypted_content": ["must be what this server has given out."]})
    return {**_head(entry, "compaction"), "encrypted_content": sealed if isinstance(sealed, str) else ""}


def _item_reference(entry: Item, _: bool) -> Item:
    return {"type": "item_reference", "id": _text(entry, "id")}


READERS: dict[str, Reader] = {
    "message": _message,
    "function_call": _call("function_call", "arguments"),
    "function_call_output": _output("function_call_output"),
    "custom_tool_call": _call("custom_tool_call", "input"),
    "custom_tool_call_output": _output("custom_tool_call_output"),
    "reasoning": _reasoning,
    "compaction": _compaction,
    "item_reference": _item_reference,
}


def _head(entry: Item, kind: str) -> Item:
    id = entry.get("id")
    if not (isinstance(id, str) and 0 < len(id) <= LONGEST_ID and "\0" not in id):
        id = new_id(PREFIXES.get(kind, "item"))
    return {"type": kind, "id": id, "status": "completed"}


def _text(entry: Item, key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValidationError({key: ["must be a string that is not empty." if key in entry else "is required."]})
    return value


def _parts(content: Any, key: str, kind: str, is_now: bool = False) -> list[Item]:
    """Read content; a string becomes one part of this kind."""
    if isinstance(content, str):
        content = [{"type": kind, "text": content}]
    if not isinstance(content, list):
        raise ValidationError({key: ["must be a string or a list of content parts."]})
    return [_part(part, key, index, kind, is_now) for index, part in enumerate(content)]


def _part(part: Any, key: str, index: int, usual: str, is_now: bool) -> Item:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise ValidationError({key: {index: ["must be an object with a `type`."]}})
    if kind not in TEXTS and not is_now:
        return dict(part)
    if kind in MEDIA_READERS:
        try:
            MEDIA_READERS[kind](part)
        except ValidationError as error:
            raise ValidationError({key: {index: error.messages}}) from None
        return dict(part)
    if kind in MEDIA:
        raise ValidationError({key: {index: [Unsupported(f"is of type {kind}; {WHAT_IS_READ}")]}})
    if kind not in TEXTS:
        raise ValidationError({key: {index: {"type": [f"must be one of: {', '.join(TEXTS)}."]}}})
    text = part.get(TEXTS[kind])
    if not isinstance(text, str):
        raise ValidationError({key: {index: {TEXTS[kind]: ["must be a string."]}}})
    if kind == "refusal":
        return {"type": kind, "refusal": text}
    read = {"type": usual, "text": text}
    return {**read, "annotations": []} if usual == "output_text" else read
