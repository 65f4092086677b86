"""Whether a chat's messages belong together: each call of a tool has its result, and each result its call."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from marshmallow import ValidationError

from localai_flask.chat.conversation import Message, ToolCall


def paired(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Give the messages, with ids for legacy calls, which have none.

    Raises `ValidationError` for a result without its call, and for calls without their results.
    """
    checked: list[Message] = []
    open_calls: dict[str, ToolCall] = {}
    caller = 0
    for index, message in enumerate(messages):
        if message.role != "tool":
            _check_answered(open_calls, caller)
            message = _with_ids(message, index)
            open_calls, caller = {call.id: call for call in message.tool_calls}, index
        elif message.tool_call_id:
            if message.tool_call_id not in _known(checked, message.tool_call_id):
                raise _odd_result(index, message.tool_call_id)
            open_calls.pop(message.tool_call_id, None)
        else:
            message = _legacy_result(message, open_calls, index)
            open_calls.pop(message.tool_call_id)
        checked.append(message)
    _check_answered(open_calls, caller)
    return tuple(checked)


def _known(messages: Sequence[Message], id: str) -> set[str]:
    """Give the ids of the calls that a result may stand for: those of the assistant's last turn."""
    for message in reversed(messages):
        if message.role != "tool":
            return {call.id for call in message.tool_calls}
    return set()


def _with_ids(message: Message, index: int) -> Message:
    if all(call.id for call in message.tool_calls):
        return message
    calls = (
        call if call.id else dataclasses.replace(call, id=f"call_{index}_{number}")
        for number, call in enumerate(message.tool_calls)
    )
    return dataclasses.replace(message, tool_calls=tuple(calls))


def _legacy_result(message: Message, open_calls: dict[str, ToolCall], index: int) -> Message:
    """Give a result that names its function the id of that function's call."""
    for call in open_calls.values():
        if call.name == message.name:
            return dataclasses.replace(message, tool_call_id=call.id)
    problem = f"is the result of {message.name!r}, of which no call stands in the message before it."
    raise ValidationError({"messages": {index: {"name": [problem]}}})


def _odd_result(index: int, id: str) -> ValidationError:
    problem = f"{id!r} is not the id of a call in `tool_calls` of the assistant message before it."
    return ValidationError({"messages": {index: {"tool_call_id": [problem]}}})


def _check_answered(calls: Iterable[str], index: int) -> None:
    if missing := ", ".join(calls):
        problem = f"must be followed by tool messages with the results; there are none for: {missing}."
        raise ValidationError({"messages": {index: {"tool_calls": [problem]}}})
