"""The tools of Open Responses' requests: which the model gets, and under what names.

Functions and custom tools are run by the client, and so are the shells and the patches whose calls have types of their
own. What OpenAI's servers would run is left out of the prompt; a response header lists it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.answer.family_words import RESPONSES
from localai_flask.api.conversation.custom_tools import InputFormat, custom_tool
from localai_flask.api.conversation.tool_choice import Choice
from localai_flask.api.request import fields
from localai_flask.api.request.fields import Either, Flag, RequestSchema, Text, not_empty
from localai_flask.api.request.parsing import Unsupported
from localai_flask.chat.conversation import Tool

NOT_HOSTED = "of a tool that this server does not host."
_TEXT = {"type": "string"}
_TIME = {"type": "integer", "description": "Milliseconds until the command is ended."}


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool with items of its own, which the client runs; the call's arguments stand in its item under `key`."""

    key: str
    description: str
    parameters: Mapping[str, Any]
    fixed: Mapping[str, Any]


CLIENT_TOOLS = {
    "local_shell": ClientTool(
        "action",
        "Run a command on the user's machine.",
        _object(
            ["command"],
            command={"type": "array", "items": _TEXT},
            timeout_ms=_TIME,
            working_directory=_TEXT,
        ),
        {"type": "exec", "env": {}},
    ),
    "shell": ClientTool(
        "action",
        "Run shell commands, each by itself.",
        _object(["commands"], commands={"type": "array", "items": _TEXT}, timeout_ms=_TIME),
        {"max_output_length": None},
    ),
    "apply_patch": ClientTool(
        "operation",
        "Create, change or delete a file; `diff` is a V4A diff, which a deletion has no need of.",
        _object(
            ["type", "path"],
            type={"enum": ["create_file", "update_file", "delete_file"]},
            path=_TEXT,
            diff=_TEXT,
        ),
        {},
    ),
}
"""What is published of their calls: https://platform.openai.com/docs/api-reference/responses/object."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool that the model gets; the client knows it by its `kind`, `name` and `namespace`."""

    tool: Tool
    kind: str
    name: str
    namespace: str
    shown: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A tool that a server would have to run."""

    kind: str


class FunctionTool(RequestSchema):
    name = Text(required=True, validate=not_empty())
    description = Text(load_default="")
    parameters = fields.Mapping()
    strict = Flag(load_default=False)


_FUNCTION = FunctionTool()
"""One for all, as making a schema takes longer than reading a tool, of which there may be thousands."""


class CustomTool(RequestSchema):
    name = Text(required=True, validate=not_empty())
    description = Text(load_default="")
    format = InputFormat()


class Namespace(RequestSchema):
    name = Text(required=True, validate=not_empty())
    tools = marshmallow.fields.Raw(required=True)


class Tools(Either):
    """A list of tools of any type, as `Offered` and `LeftOut`."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[Offered | LeftOut]:
        if not isinstance(value, list):
            raise ValidationError("must be a list.")
        return list(_read_all(value, ""))


def _read_all(tools: list[Any], namespace: str) -> Iterable[Offered | LeftOut]:
    for index, entry in enumerate(tools):
        try:
            yield from _read(entry, namespace)
        except ValidationError as error:
            raise ValidationError({index: error.messages}) from None


def _read(entry: Any, namespace: str) -> Iterable[Offered | LeftOut]:
    kind = entry.get("type") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or not kind:
        raise ValidationError({"type": ["is required."]} if isinstance(entry, dict) else ["must be an object."])
    if kind == "function":
        yield _function(_FUNCTION.load(entry), namespace)
    elif kind == "custom":
        yield _custom(CustomTool().load(entry), namespace, entry)
    elif kind == "namespace":
        inner = Namespace().load(entry)
        if not isinstance(inner["tools"], list):
            raise ValidationError({"tools": ["must be a list."]})
        try:
            yield from _read_all(inner["tools"], inner["name"])
        except ValidationError as error:
            raise ValidationError({"tools": error.messages}) from None
    elif kind in CLIENT_TOOLS and not _is_hosted(entry):
        known = CLIENT_TOOLS[kind]
        tool = Tool(name=kind, description=known.description, parameters=known.parameters)
        yield Offered(tool, kind, kind, "", entry)
    else:
        yield LeftOut(kind)


def _is_hosted(entry: Mapping[str, Any]) -> bool:
    """Return whether a shell is one in a container of OpenAI's."""
    environment = entry.get("environment")
    return isinstance(environment, dict) and environment.get("type") != "local"


def _function(data: dict[str, Any], namespace: str) -> Offered:
    parameters = data.get("parameters")
    name, description, strict = data["name"], data["description"], data["strict"]
    tool = Tool(name=qualified(name, namespace), description=description, parameters=parameters, strict=strict)
    shown = {"name": name, "description": description or None, "parameters": parameters, "strict": strict}
    return Offered(tool, "function", name, namespace, {"type": "function", **shown})


def _custom(data: dict[str, Any], namespace: str, entry: Mapping[str, Any]) -> Offered:
    name = data["name"]
    tool = custom_tool(qualified(name, namespace), data["description"], data.get("format"))
    return Offered(tool, "custom", name, namespace, entry)


def qualified(name: str, namespace: str) -> str:
    """Return the name by which the model knows a tool."""
    return f"{namespace.removesuffix('__')}__{name}" if namespace else name


def added_tools(item: Mapping[str, Any]) -> list[Offered]:
    """Return the tools that an item of the input adds; those that cannot be read are passed over."""
    if item["type"] not in ("additional_tools", "tool_search_output"):
        return []
    try:
        return [each for each in Tools()._deserialize(item.get("tools")) if isinstance(each, Offered)]
    except ValidationError:
        return []


def shown_tools(tools: Iterable[Offered]) -> list[Mapping[str, Any]]:
    """Return the tools as the response repeats them, with namespaces as they came."""
    shown: list[Any] = []
    spaces: dict[str, dict[str, Any]] = {}
    for offered in tools:
        if not offered.namespace:
            shown.append(offered.shown)
        elif offered.namespace in spaces:
            spaces[offered.namespace]["tools"].append(offered.shown)
        else:
            name = offered.namespace
            spaces[name] = {"type": "namespace", "name": name, "description": "", "tools": [offered.shown]}
            shown.append(spaces[name])
    return shown


# Choosing among them.


class ToolChoice(Either):
    """A word, a tool, or a list of allowed tools."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[Choice, Any]:
        if mode := RESPONSES.tool_choice(value):
            return Choice(mode), value
        if not isinstance(value, dict):
            raise ValidationError("must be `auto`, `none`, `required` or an object.")
        if value.get("type") == "allowed_tools":
            return allowed(value)
        name, shown = _chosen(value)
        return Choice("required", frozenset({name}), once=True), shown


def allowed(value: dict[str, Any]) -> tuple[Choice, Any]:
    """Read a choice that lists tools."""
    tools, mode = value.get("tools"), value.get("mode", "auto")
    if not isinstance(tools, list) or not tools:
        raise ValidationError({"tools": ["must be a list that is not empty."]})
    if mode not in ("auto", "required", "none"):
        raise ValidationError({"mode": ["must be one of: auto, required, none."]})
    chosen = [_chosen({"type": "function", **tool} if isinstance(tool, dict) else tool) for tool in tools]
    shown = {"type": "allowed_tools", "mode": mode, "tools": [each for _, each in chosen]}
    return Choice(mode, frozenset(name for name, _ in chosen)), shown


def _chosen(value: Any) -> tuple[str, Any]:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not kind:
        raise ValidationError({"type": ["must be one of: function, custom, allowed_tools."]})
    if kind in ("function", "custom"):
        name, namespace = value.get("name"), value.get("namespace") or ""
        if not isinstance(name, str) or not name or not isinstance(namespace, str):
            raise ValidationError('must name functions as `{"type": "function", "name": …}`.')
        return qualified(name, namespace), {"type": kind, "name": name}
    if kind in CLIENT_TOOLS:
        return kind, {"type": kind}
    raise ValidationError({"type": [Unsupported(f"is {kind}, {NOT_HOSTED}")]})


def named_for_model(choice: Choice, tools: Sequence[Offered]) -> Choice:
    """Return a choice with the model's names in place of the client's, which leave out namespaces."""
    if choice.names is None:
        return choice
    known = {offered.tool.name for offered in tools}
    names = set(choice.names & known)
    for name in choice.names - known:
        names |= {offered.tool.name for offered in tools if offered.name == name} or {name}
    return choice._replace(names=frozenset(names))
