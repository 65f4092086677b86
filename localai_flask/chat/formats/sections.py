"""Calls in a section of control tokens, each with a name and JSON: Kimi K2 and DeepSeek up to V3.1."""

from __future__ import annotations

import re

from localai_flask.chat.formats import jsontext
from localai_flask.chat.formats.base import CallSyntax, ParsedCall, ToolFormat, enclosed


def _section(opening: str, closing: str, call_opening: str, call: re.Pattern[str]) -> CallSyntax:
    """Make the syntax of a section; in `call` the two groups that match are the name and the JSON."""

    def read(body: str) -> list[ParsedCall] | None:
        calls, end = [], 0
        for each in call.finditer(body):
            name, written = filter(None, each.groups(""))
            text = jsontext.object_text(written)
            if each.start() != end or text is None:
                return None
            end = each.end()
            calls.append(ParsedCall(name, text))
        return calls if calls and not body[end:].strip() else None

    def may_be_call(body: str) -> bool:
        text = body.lstrip()[: len(call_opening)]
        return call_opening.startswith(text)

    return enclosed(opening, closing, read, may_be_call, jsontext.is_inside_string)


# A last call may lack its end, if the model was stopped there.
_KIMI_CALL = re.compile(
    r"\s*<\|tool_call_begin\|>\s*(?:functions\.)?([^\s<:]+)(?::\d+)?\s*"
    r"<\|tool_call_argument_begin\|>(.+?)(?:<\|tool_call_end\|>|\Z)",
    re.DOTALL,
)


def _kimi_id(id: str, name: str, number: int) -> str:
    return f"functions.{name}:{number}"


KIMI = ToolFormat(
    "kimi",
    (_section("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>", _KIMI_CALL),),
    "<|tool_call_end|>",
    trailers=("<|tool_calls_section_end|>",),
    preserved=(
        "<|tool_calls_section_begin|>",
        "<|tool_call_begin|>",
        "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        "<|tool_calls_section_end|>",
    ),
    call_id=_kimi_id,
    ends_thinking=True,
)

# V3.1 writes NAME, a separator and JSON; V3 and R1 write "function", a separator, NAME and JSON in a code block.
_DEEPSEEK_CALL = re.compile(
    r"\s*<｜tool▁call▁begin｜>\s*"
    r"(?:function<｜tool▁sep｜>([^\s<]+)\s*```json\s*(.+?)\s*```|"
    r"([^\s<]+)\s*<｜tool▁sep｜>(.+?))\s*(?:<｜tool▁call▁end｜>|\Z)",
    re.DOTALL,
)


DEEPSEEK = ToolFormat(
    "deepseek",
    (_section("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", _DEEPSEEK_CALL),),
    "<｜tool▁call▁end｜>",
    trailers=("<｜tool▁calls▁end｜>",),
    preserved=(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
    ends_thinking=True,
)
