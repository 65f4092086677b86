"""Whether a chat's messages belong together: each call of a tool has its result, and each result its call."""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from marshmallow import ValidationError

from localai_flask.chat.conversation import Message, ToolCall


def paired(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the messages, with ids for legacy calls, which have none.

    Raises `ValidationError` for a result without its call, and for calls without their results.
    """
    checked: list[Message] = []
    calls = _Calls(())
    caller = 0
    for index, message in enumerate(messages):
        if message.role != "tool":
            _check_answered(calls.unanswered, caller)
            message = _with_ids(message, index)
            calls, caller = _Calls(message.tool_calls), index
        elif message.tool_call_id:
            if message.tool_call_id not in calls.known:
                raise _odd_result(index, message.tool_call_id)
        else:
            message = _legacy_result(message, calls, index)
        calls.answer(message.tool_call_id)
        checked.append(message)
    _check_answered(calls.unanswered, caller)
    return tuple(checked)


class _Calls:
    """The calls of the assistant's last turn; what a lookup takes does not depend on how many there are."""

    def __init__(self, calls: Sequence[ToolCall]):
        self.known = {call.id for call in calls}
        self.unanswered = dict.fromkeys(call.id for call in calls)
        self._by_name: defaultdict[str, deque[str]] = defaultdict(deque)
        for call in calls:
            self._by_name[call.name].append(call.id)

    def answer(self, id: str) -> None:
        self.unanswered.pop(id, None)

    def first_unanswered(self, name: str) -> str | None:
        """The id of the first call of this function that has no result yet."""
        ids = self._by_name.get(name, deque())
        while ids and ids[0] not in self.unanswered:
            ids.popleft()
        return ids[0] if ids else None


def _with_ids(message: Message, index: int) -> Message:
    if all(call.id for call in message.tool_calls):
        return message
    calls = (
        call if call.id else dataclasses.replace(call, id=f"call_{index}_{number}")
        for number, call in enumerate(message.tool_calls)
    )
    return dataclasses.replace(message, tool_calls=tuple(calls))


def _legacy_result(message: Message, calls: _Calls, index: int) -> Message:
    """Put into a result that names its function the id of that function's call."""
    if (id := calls.first_unanswered(message.name)) is not None:
        return dataclasses.replace(message, tool_call_id=id)
    problem = f"is the result of {message.name!r}, of which no call stands in the message before it."
    raise ValidationError({"messages": {index: {"name": [problem]}}})


def _odd_result(index: int, id: str) -> ValidationError:
    problem = f"{id!r} is not the id of a call in `tool_calls` of the assistant message before it."
    return ValidationError({"messages": {index: {"tool_call_id": [problem]}}})


def _check_answered(calls: Iterable[str], index: int) -> None:
    if missing := ", ".join(calls):
        problem = f"must be followed by tool messages with the results; there are none for: {missing}."
        raise ValidationError({"messages": {index: {"tool_calls": [problem]}}})
