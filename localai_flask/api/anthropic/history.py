"""From the messages of a request to the conversation that they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NoReturn

from marshmallow import ValidationError

from localai_flask.api.anthropic.blocks import read_messages
from localai_flask.api.conversation.media import media_in
from localai_flask.api.conversation.pairing import UnansweredCalls, UnknownResult, paired
from localai_flask.chat.conversation import Message


def read_conversation(entries: Sequence[dict[str, Any]]) -> list[Message]:
    """Read messages, with each call's results behind it.

    Raises `ValidationError` for what cannot be read or does not fit in what is asked now: in the last message, not
    counting those of the system that clients put behind it.
    """
    last = len(entries) - 1
    while last > 0 and entries[last]["role"] == "system":
        last -= 1
    messages: list[Message] = []
    places: list[int] = []
    now = 0
    last_user = max((index for index, entry in enumerate(entries) if entry["role"] == "user"), default=-1)
    for index, entry in enumerate(entries):
        if "content" not in entry or (entry.get("clear_at") == "next_user_message" and index < last_user):
            continue
        now = len(messages) if index == last else now
        is_now = index >= last and entry["role"] != "assistant"
        try:
            read = read_messages(entry["role"], entry["content"], is_now)
        except ValidationError as error:
            raise ValidationError({"messages": {index: {"content": error.messages}}}) from None
        media = media_in(entry["content"])
        messages += [dataclasses.replace(message, **media) for message in read] if any(media.values()) else read
        places += [index] * len(read)
    if not messages:
        raise ValidationError({"messages": ["must have a message with content."]})
    try:
        return list(paired(messages, now))
    except UnknownResult as error:
        _refuse(places[error.index], f"has a tool_result for {str(error)!r}, which no tool_use before it waits for.")
    except UnansweredCalls as error:
        problem = f"must be followed by a message with a tool_result for each tool_use; missing: {error}."
        _refuse(places[error.index], problem)


def _refuse(index: int, problem: str) -> NoReturn:
    raise ValidationError({"messages": {index: {"content": [problem]}}})


def with_thoughts_cleared(messages: Sequence[Message], keep: int | None) -> list[Message]:
    """Take the thoughts out of all turns of the assistant but the last ones (None: keep them all)."""
    cleared: list[Message] = []
    left = len(messages) if keep is None else keep
    for message in reversed(messages):
        if message.role == "assistant" and message.reasoning:
            message = message if left > 0 else dataclasses.replace(message, reasoning="")
            left -= 1
        cleared.append(message)
    return cleared[::-1]
