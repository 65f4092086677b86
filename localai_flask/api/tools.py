"""Which tools a request lets the model call, and which field of it wants calls to be enforced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from marshmallow import ValidationError

from localai_flask.chat.conversation import Tool


class Choice(NamedTuple):
    """What `tool_choice` says: how tools are to be called, and which (None: all); `once` means exactly one call."""

    mode: str = "auto"
    names: frozenset[str] | None = None
    once: bool = False


def chosen_tools(tools: Sequence[Tool], choice: Choice) -> tuple[Tool, ...]:
    """Return the tools that may be called; raise `ValidationError` if a choice cannot be met."""
    if choice.mode == "none":
        return ()
    names = {tool.name for tool in tools}
    if choice.mode == "required" and not tools:
        raise ValidationError({"tool_choice": ["asks for a call, but there are no `tools`."]})
    if choice.names is not None and (missing := sorted(choice.names - names)):
        raise ValidationError({"tool_choice": [f"names {missing[0]}, which is not among the `tools`."]})
    return tuple(tool for tool in tools if choice.names is None or tool.name in choice.names)


def asked_by(tools: Sequence[Tool], choice: Choice, strict: str) -> str:
    """Name the field that wants calls to be enforced; "" if none does.

    `strict` is where a tool says that it does, with {} for the tool's index.
    """
    if choice.mode == "required":
        return "tool_choice"
    if choice.mode == "none":
        return ""
    return next((strict.format(index) for index, tool in enumerate(tools) if tool.strict), "")
