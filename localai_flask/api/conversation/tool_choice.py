"""Which tools a request lets the model call, which field of it wants calls to be enforced, and which are left out.

What a server would have to run itself, such as a web search, is no reason to refuse a request that has other tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flask import Response
from marshmallow import ValidationError

from localai_flask.chat.conversation import Tool

LEFT_OUT = "X-Tools-Left-Out"
"""The response header that lists the types of such tools."""

MOST_KINDS, LONGEST_KIND = 20, 60


class Choice(NamedTuple):
    """What `tool_choice` says: how tools are to be called, and which (None: all); `once` means exactly one call."""

    mode: str = "auto"
    names: frozenset[str] | None = None
    once: bool | None = None


def chosen_tools(tools: Sequence[Tool], choice: Choice, missing_why: Sequence[str] = ()) -> tuple[Tool, ...]:
    """Return the tools that may be called.

    Raises `ValidationError` if a choice cannot be met, with the first reason why tools are missing, if there are any.
    """
    if choice.mode == "none":
        return ()
    names = {tool.name for tool in tools}
    if choice.mode == "required" and not tools:
        reason = f": {missing_why[0]}" if missing_why else "."
        raise ValidationError({"tool_choice": [f"asks for a call, but there are no `tools`{reason}"]})
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


def with_left_out(response: Response, kinds: Sequence[str]) -> Response:
    """Name in a response's head which tools the model was not given, if any."""
    if kinds:
        named = [kind for kind in kinds if kind.isascii() and kind.isprintable() and len(kind) <= LONGEST_KIND]
        response.headers[LEFT_OUT] = ", ".join(named[:MOST_KINDS]) or "others"
    return response
