"""The Hermes syntax of tool calls, `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, read and written.

Also how tools are explained, in this syntax, to a model whose template has no place for them. The tags are those of the
Hermes models' function calling (https://github.com/NousResearch/Hermes-Function-Calling).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import msgspec

from localai_flask.chat.conversation import Tool, ToolCall
from localai_flask.chat.formats.base import ParsedCall, ToolFormat

OPENING = "<tool_call>"
CLOSING = "</tool_call>"

_WHOLE_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Body(msgspec.Struct):
    """The JSON between the markers."""

    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(Body).decode


def may_be_call(body: str) -> bool:
    return body.lstrip()[:1] in ("", "{")


def read(body: str) -> list[ParsedCall] | None:
    """Read the text between the markers; None if it is no call."""
    try:
        call = _decode(body)
        arguments = bytes(call.arguments).decode()
        if arguments.startswith('"'):  # some models write the arguments as a string that holds the JSON
            arguments = msgspec.json.decode(arguments, type=str)
            msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    arguments = arguments.strip()
    if not call.name or not arguments.startswith("{"):
        return None
    return [ParsedCall(call.name, arguments)]


def is_inside_string(body: str) -> bool:
    return '"' in _WHOLE_STRING.sub("", body)


FORMAT = ToolFormat("hermes", OPENING, CLOSING, may_be_call, read, is_inside_string)


def explain(tools: Sequence[Tool], once: bool) -> str:
    """Tell a model in a system message which tools it has and how to call them (`once`: one call at most)."""
    definitions = "\n".join(json.dumps(tool.definition, ensure_ascii=False) for tool in tools)
    how_many = "one function" if once else "one or more functions"
    return (
        f"You may call {how_many} to help with the user's request. Their signatures, as JSON Schema:\n"
        f"<tools>\n{definitions}\n</tools>\n"
        "To call a function, write a JSON object with its name and arguments between these tags:\n"
        f'{OPENING}\n{{"name": "<function name>", "arguments": {{<arguments>}}}}\n{CLOSING}\n'
        "Call a function only if it is needed; otherwise answer in plain words."
    )


def write_call(call: ToolCall) -> str:
    """Write a call that the model has made before, as it would have."""
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{OPENING}\n{{"name": {name}, "arguments": {call.arguments or "{}"}}}\n{CLOSING}'


def write_result(content: str) -> str:
    """Write a tool's result for the model to read."""
    return f"<tool_response>\n{content}\n</tool_response>"
