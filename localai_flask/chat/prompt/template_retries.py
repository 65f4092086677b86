"""Second tries for templates that fail on a conversation: what can be said in another shape without loss.

Pure data in, pure data out; knows the failings of published templates, and no model.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Turn = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Concession:
    """What to change: calls' arguments to JSON text, tools to what careless templates expect, roles to user turns."""

    text_arguments: bool = False
    full_tools: bool = False
    folded: bool = False


def ladder(messages: list[Turn]) -> Iterator[Concession]:
    """Return the concessions to try, one after the other; the first is none."""
    calls = any(turn.get("tool_calls") for turn in messages)
    folds = len(folded(messages)) < len(messages)
    for folding in (False, True) if folds else (False,):
        for text in (False, True) if calls else (False,):
            if not folding:
                yield Concession(text, False)
            yield Concession(text, True, folding)


def with_full_tools(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables for templates that want a list of tools always, or each parameter described.

    Firefunction's wants its tools as text and the date besides.
    """
    tools = [_described(tool) for tool in variables.get("tools") or ()]
    now = datetime.datetime.now(datetime.UTC).strftime("%b %d %Y %H:%M:%S GMT")
    return {"functions": json.dumps(tools, ensure_ascii=False), "datetime": now, **variables, "tools": tools}


def _described(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    parameters = function.get("parameters") or {}
    properties = {
        name: {"description": "", **schema} if isinstance(schema, dict) else schema
        for name, schema in (parameters.get("properties") or {}).items()
    }
    whole = {"type": "object", "required": [], **parameters, "properties": properties}
    return {**tool, "function": {"description": "", **function, "parameters": whole}}


def folded(messages: list[Turn]) -> list[Turn]:
    """Put the system's words before the user's, and turns of one speaker that follow each other into one."""
    turns: list[Turn] = []
    for message in messages:
        turn = {**message, "role": "user"} if message["role"] == "system" else message
        last = turns[-1] if turns else {}
        plain = turn["role"] in ("user", "assistant") and not turn.get("tool_calls") and not last.get("tool_calls")
        if plain and last.get("role") == turn["role"]:
            turns[-1] = {**last, "content": f"{last['content']}\n\n{turn['content']}"}
        else:
            turns.append(turn)
    return turns
