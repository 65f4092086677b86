"""Whether Anthropic's messages belong together: each tool_use has its tool_result, and each result its use."""

from __future__ import annotations

from collections.abc import Sequence

from marshmallow import ValidationError

from localai_flask.chat.conversation import Message


def check_paired(groups: Sequence[Sequence[Message]]) -> None:
    """Raise `ValidationError` for a result without its call, and for calls without their results.

    `groups` are what each of the request's messages became; several of one role after each other are one turn.
    """
    called: set[str] = set()
    missing: set[str] = set()
    caller, is_answering = 0, False
    for index, group in enumerate(groups):
        if group[0].role == "assistant":
            if is_answering or not called:
                _check_answered(missing, caller)
                called, missing, caller, is_answering = set(), set(), index, False
            ids = {call.id for message in group for call in message.tool_calls}
            called |= ids
            missing |= ids
            continue
        results = {message.tool_call_id for message in group if message.role == "tool"}
        if unknown := sorted(results - called):
            raise _wrong(index, f"has a tool_result for {unknown[0]!r}, which no tool_use before it has as its id.")
        is_answering = is_answering or bool(results)
        missing -= results
        if not results:
            _check_answered(missing, caller)
    _check_answered(missing, caller)


def _check_answered(missing: set[str], caller: int) -> None:
    if missing:
        named = ", ".join(sorted(missing))
        raise _wrong(caller, f"must be followed by a message with a tool_result for each tool_use; missing: {named}.")


def _wrong(index: int, problem: str) -> ValidationError:
    return ValidationError({"messages": {index: {"content": [problem]}}})
