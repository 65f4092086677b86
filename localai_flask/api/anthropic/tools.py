"""The tools of Anthropic's requests: which the model gets, and what is published of those that Anthropic has defined.

Bash, the text editor, the memory and the computer are run by the client, as tools of its own are. What Anthropic's
servers would run is left out of the prompt; a response header lists it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request import fields
from localai_flask.api.request.fields import Flag, RequestSchema, Text
from localai_flask.chat.conversation import Tool

_TEXT = {"type": "string"}
_LINE = {"type": "integer"}
_POINT = {"type": "array", "items": {"type": "integer"}, "description": "[x, y] in pixels."}


def _commands(names: Sequence[str], key: str = "command", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {key: {"enum": list(names)}, **properties}, "required": [key]}


_EDITS: dict[str, Any] = {
    "path": _TEXT,
    "file_text": {**_TEXT, "description": "For create: the file's content."},
    "old_str": {**_TEXT, "description": "For str_replace: what stands in the file once."},
    "new_str": {**_TEXT, "description": "For str_replace: what takes its place."},
    "insert_line": {**_LINE, "description": "For insert: the line behind which to insert, 0 for the beginning."},
    "insert_text": {**_TEXT, "description": "For insert: the text."},
    "view_range": {"type": "array", "items": _LINE, "description": "For view: the first and the last line."},
}
_EDITOR = _commands(["view", "create", "str_replace", "insert"], **_EDITS)
_OLD_EDITOR = _commands(["view", "create", "str_replace", "insert", "undo_edit"], **_EDITS)
_ACTIONS = (
    *("key", "type", "hold_key", "wait", "screenshot", "zoom", "scroll", "cursor_position", "mouse_move"),
    *("left_click", "left_click_drag", "right_click", "middle_click", "double_click", "triple_click"),
    *("left_mouse_down", "left_mouse_up"),
)


class _Known(NamedTuple):
    name: str
    description: str
    schema: Mapping[str, Any]


_BASH = {"command": _TEXT, "restart": {"type": "boolean", "description": "Start the shell anew."}}
_COMPUTER: dict[str, Any] = {
    "coordinate": _POINT,
    "start_coordinate": _POINT,
    "text": {**_TEXT, "description": "What to type, or the key to press or hold."},
    "scroll_direction": {"enum": ["up", "down", "left", "right"]},
    "scroll_amount": {"type": "integer"},
    "duration": {"type": "number", "description": "Seconds to wait or to hold."},
    "region": {"type": "array", "items": {"type": "integer"}, "description": "For zoom: [x0, y0, x1, y1]."},
}
CLIENT_TOOLS = {
    "bash_": _Known("bash", "Run a command in a shell that stays open.", {"type": "object", "properties": _BASH}),
    "text_editor_20241022": _Known("str_replace_editor", "View and change files.", _OLD_EDITOR),
    "text_editor_20250124": _Known("str_replace_editor", "View and change files.", _OLD_EDITOR),
    "text_editor_": _Known("str_replace_based_edit_tool", "View and change files.", _EDITOR),
    "memory_": _Known(
        "memory",
        "Keep notes in files below /memories, and read them.",
        _commands(
            ["view", "create", "str_replace", "insert", "delete", "rename"],
            **_EDITS,
            old_path=_TEXT,
            new_path=_TEXT,
        ),
    ),
    "computer_2": _Known(
        "computer", "Use the computer's screen, mouse and keyboard.", _commands(_ACTIONS, "action", **_COMPUTER)
    ),
}
"""By what their types begin with, in the order in which they are tried; what follows is the version's date.

What is published of them: https://platform.claude.com/docs/en/agents-and-tools/tool-use/bash-tool and its neighbours.
"""


class OfferedTool(NamedTuple):
    """A tool by its type; None where a server would have to run it. A `deferred` one is shown once it is named."""

    type: str
    tool: Tool | None
    deferred: bool = False


class ToolSchema(RequestSchema):
    type = Text(load_default="custom")
    name = Text()
    description = Text(load_default="")
    input_schema = fields.Mapping()
    strict = Flag(load_default=False)
    defer_loading = Flag(load_default=False)
    display_width_px = fields.Whole(1)
    display_height_px = fields.Whole(1)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> OfferedTool:
        kind, deferred = data["type"], data["defer_loading"]
        if kind == "custom":
            for key in ("name", "input_schema"):
                if not data.get(key) and data.get(key) != {}:
                    raise ValidationError({key: ["must not be empty." if key in data else "is required."]})
            description, schema = data["description"], data["input_schema"]
            tool = Tool(name=data["name"], description=description, parameters=schema, strict=data["strict"])
            return OfferedTool(kind, tool, deferred)
        known = next((each for begin, each in CLIENT_TOOLS.items() if kind.startswith(begin)), None)
        if known is None:
            return OfferedTool(kind, None)
        description = known.description
        if "display_width_px" in data and "display_height_px" in data:
            description += f" The screen has {data['display_width_px']} by {data['display_height_px']} pixels."
        name = data.get("name") or known.name
        tool = Tool(name=name, description=description, parameters=known.schema, strict=data["strict"])
        return OfferedTool(kind, tool, deferred)


def shown_tools(offered: Sequence[OfferedTool], named: Mapping[str, bool], chosen: Container[str]) -> tuple[Tool, ...]:
    """Return the tools that the model is shown: a deferred one only once the conversation, or the choice, names it.

    `named` says of tools whether the conversation has added them or taken them away. Where a search that a server would
    run is among the tools, nobody could find those that are deferred, so they are shown at once.
    """
    is_findable = not any(each.type.startswith("tool_search_tool") for each in offered)
    return tuple(
        tool
        for _, tool, deferred in offered
        if tool is not None and (tool.name in chosen or named.get(tool.name, not (deferred and is_findable)))
    )


def tool_changes(messages: Sequence[Any]) -> dict[str, bool]:
    """Return the tools that a conversation's blocks name: those that it adds (true), and those that it takes away."""
    changes: dict[str, bool] = {}
    for block in (block for message in messages for block in _blocks(message)):
        kind = block.get("type")
        if kind == "tool_result":
            found = [each.get("tool_name") for each in _blocks(block) if each.get("type") == "tool_reference"]
            changes |= {name: True for name in found if isinstance(name, str)}
        elif kind in ("tool_addition", "tool_removal"):
            tool = block.get("tool")
            if isinstance(tool, dict) and isinstance(name := tool.get("name"), str):
                changes[name] = kind == "tool_addition"
    return changes


def _blocks(holder: Any) -> list[dict[str, Any]]:
    content = holder.get("content") if isinstance(holder, dict) else None
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
