"""Calls of tools as items: how those that the model makes begin and end, and how the model reads those of the past."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from localai_flask.api.conversation.custom_tools import INPUT, as_arguments, read_input
from localai_flask.api.responses import shapes
from localai_flask.api.responses.input.items import new_id
from localai_flask.api.responses.tools import CLIENT_TOOLS, Offered, qualified
from localai_flask.chat.output.partial_json import is_object

_SHAPES: dict[str, tuple[str, Any]] = {
    "local_shell": ("lsh", shapes.LocalShellCall),
    "shell": ("sh", shapes.ShellCall),
    "apply_patch": ("apc", shapes.ApplyPatchCall),
}
"""The prefixes of their ids, and their shapes."""


def begin_call(offered: Offered | None, id: str, name: str) -> shapes.Call:
    """Make the item of a call whose arguments are still to come; None stands for a function that nobody has offered."""
    kind = offered.kind if offered else "function"
    if offered is not None and kind in _SHAPES:
        prefix, shape = _SHAPES[kind]
        made: shapes.Call = shape(new_id(prefix), id, dict(CLIENT_TOOLS[kind].fixed))
        return made
    name = offered.name if offered else name
    namespace = offered.namespace if offered and offered.namespace else msgspec.UNSET
    if kind == "custom":
        return shapes.CustomToolCall(new_id("ctc"), id, name, namespace=namespace)
    return shapes.FunctionCall(new_id("fc"), id, name, namespace=namespace)


def finish_call(call: shapes.Call, arguments: str) -> list[tuple[str, dict[str, Any]]]:
    """Put its arguments into a call, and return the events that tell of them.

    What is no JSON, cut or broken off by the model itself, makes the call incomplete: nobody shall take it for done.
    """
    is_whole = is_object(arguments)
    if not is_whole:
        call.status = "incomplete"
    match call:
        case shapes.FunctionCall():
            call.arguments = arguments
            done = ("response.function_call_arguments.done", {"name": call.name, "arguments": arguments})
            return [done] if is_whole else []
        case shapes.CustomToolCall():
            text = call.input = read_input(arguments)
            delta = ("response.custom_tool_call_input.delta", {"delta": text})
            return [delta, ("response.custom_tool_call_input.done", {"input": text})] if is_whole else [delta]
        case shapes.ApplyPatchCall() if is_whole:
            call.operation = msgspec.json.decode(arguments)
        case shapes.LocalShellCall() | shapes.ShellCall() if is_whole:
            call.action |= msgspec.json.decode(arguments)
    return []


def written_call(item: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the name and the arguments by which the model knows an item that is a call; None if it is none of ours."""
    kind = item["type"]
    if kind == "function_call":
        return qualified(item["name"], item.get("namespace") or ""), item["arguments"]
    if kind == "custom_tool_call":
        return qualified(item["name"], item.get("namespace") or ""), as_arguments(item[INPUT])
    name = kind.removesuffix("_call")
    known = CLIENT_TOOLS.get(name)
    if known is None or not isinstance(item.get(known.key), dict):
        return None
    arguments = {key: value for key, value in item[known.key].items() if key in known.parameters["properties"]}
    return name, json.dumps(arguments, ensure_ascii=False)
