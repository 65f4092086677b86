"""Calls and their results, which each family's conversations pair in the same way.

In a conversation's past nothing is refused: a call that was never answered gets a result that says so, and a result
whose call nobody has seen is shown as text. What the request brings now is refused if it does not fit.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from localai_flask.chat.conversation import Message, ToolCall

UNANSWERED = "There is no result of this call."


class UnansweredCalls(Exception):
    """The last calls have results only in part; `index` is that of the message with the calls."""

    def __init__(self, index: int, ids: Sequence[str]):
        super().__init__(", ".join(ids))
        self.index = index


class UnknownResult(Exception):
    """A result that comes now is of no call; `index` is that of its message."""

    def __init__(self, index: int, message: Message):
        super().__init__(message.tool_call_id or message.name)
        self.index = index
        self.message = message


@dataclass(slots=True)
class _Caller:
    """A message with calls, and the results that have been found for them."""

    results: list[Message] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)
    """The names of the calls without a result, by their ids."""


def begin_of_now(messages: Sequence[Message]) -> int:
    """Return where that begins which a request brings: its last message, or its last run of results."""
    index = len(messages) - 1
    while index > 0 and messages[index].role == messages[index - 1].role == "tool":
        index -= 1
    return index


def paired(messages: Sequence[Message], now: int | None = None) -> tuple[Message, ...]:
    """Return the messages with each call's results behind it, and with ids for legacy calls, which have none.

    What stands before `now` is the past. Raises `UnansweredCalls` or `UnknownResult`.
    """
    now = begin_of_now(messages) if now is None else now
    pairs = _Pairs()
    for index, message in enumerate(messages):
        if message.role == "tool" and pairs.add_result(message, index >= now):
            continue
        if message.role == "tool":
            if index >= now:
                raise UnknownResult(index, message)
            message = Message(role="user", content=f"[Result of a call] {message.content}")
        pairs.add(message, index)
    pairs.check_last(now)
    return pairs.joined()


class _Pairs:
    """The messages so far; what a lookup takes does not depend on how many calls there are."""

    def __init__(self) -> None:
        self._messages: list[tuple[Message, _Caller | None]] = []
        self._callers: dict[str, _Caller] = {}
        self._by_name: defaultdict[str, deque[str]] = defaultdict(deque)
        self._last: tuple[int, _Caller] | None = None
        """The last message with calls, and its index."""
        self._answered_now: set[str] = set()

    def add(self, message: Message, index: int) -> None:
        if not message.tool_calls:
            self._messages.append((message, None))
            return
        calls = tuple(_with_id(call, index, number) for number, call in enumerate(message.tool_calls))
        caller = _Caller(unanswered={call.id: call.name for call in calls})
        self._by_name.clear()
        for call in calls:
            self._callers[call.id] = caller
            self._by_name[call.name].append(call.id)
        self._last = (index, caller)
        self._messages.append((dataclasses.replace(message, tool_calls=calls), caller))

    def add_result(self, message: Message, is_now: bool) -> bool:
        """Put a result behind its call; return whether there is one."""
        if not message.tool_call_id:
            ids = self._by_name.get(message.name)
            if not ids:
                return False
            message = dataclasses.replace(message, tool_call_id=ids.popleft())
        caller = self._callers.get(message.tool_call_id)
        if caller is None:
            return False
        if is_now:
            if message.tool_call_id not in caller.unanswered and message.tool_call_id not in self._answered_now:
                return False  # it has had its result before
            self._answered_now.add(message.tool_call_id)
        caller.unanswered.pop(message.tool_call_id, None)
        caller.results.append(message)
        return True

    def check_last(self, now: int) -> None:
        """Raise `UnansweredCalls` if the request ends among calls that still wait for results."""
        if self._last is None:
            return
        index, caller = self._last
        if caller.unanswered and (index >= now or self._answered_now):
            raise UnansweredCalls(index, list(caller.unanswered))

    def joined(self) -> tuple[Message, ...]:
        whole: list[Message] = []
        for message, caller in self._messages:
            whole.append(message)
            if caller is not None:
                missing = caller.unanswered.items()
                whole += caller.results
                whole += [Message(role="tool", content=UNANSWERED, tool_call_id=id, name=name) for id, name in missing]
        return tuple(whole)


def _with_id(call: ToolCall, index: int, number: int) -> ToolCall:
    return call if call.id else dataclasses.replace(call, id=f"call_{index}_{number}")
