"""The Hermes syntax of tool calls, `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, read and written.

Also how tools are explained, in this syntax, to a model whose template has no place for them. The tags are those of the
Hermes models' function calling (https://github.com/NousResearch/Hermes-Function-Calling).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from localai_flask.chat.conversation import Tool, ToolCall
from localai_flask.chat.formats import json_calls
from localai_flask.chat.formats.base import CallSyntax, ToolFormat
from localai_flask.chat.formats.literal_calls import TOOL_CODE
from localai_flask.chat.formats.notation import CallNotation, Notation

OPENING = "<tool_call>"
CLOSING = "</tool_call>"

FORMAT = ToolFormat(
    "hermes",
    (
        CallSyntax(OPENING, json_calls.calls(CLOSING)),
        # What models that were not trained on these tags write instead now and then.
        CallSyntax("```tool_call", json_calls.calls("```")),
        TOOL_CODE,
    ),
    CLOSING,
    trailers=(CLOSING,),
    preserved=(OPENING, CLOSING),
    notation=Notation(
        trigger=OPENING,
        call=CallNotation(
            before=OPENING + '\n{"name": ', between=', "arguments": ', after="}\n" + CLOSING, is_json=True
        ),
    ),
)


def explain(tools: Sequence[Tool], once: bool) -> str:
    """Describe in a system message which tools a model has and how to call them (`once`: one call at most)."""
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
