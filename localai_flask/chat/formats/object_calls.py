"""Calls as JSON objects with a name and arguments, between markers or behind one; the markers differ, JSON hardly."""

from __future__ import annotations

from typing import Any

import regex

from localai_flask.chat.formats import json_calls
from localai_flask.chat.formats.base import Body, CallSyntax, Functions, NotACall, Steps, ToolFormat, Written
from localai_flask.chat.formats.named_calls import FUNCTION_SYNTAX

NAME_FIRST = '{"name": '
ARGUMENTS = ', "arguments": '


def listed(name: str, opening: str, closing: str = "", *, is_array: bool = True, **options: Any) -> ToolFormat:
    """Make the format of a list of objects between two markers, or behind one."""
    written = Written(
        trigger=opening,
        opening=opening + ("[" if is_array else "\n"),
        before=options.pop("before", NAME_FIRST),
        is_json_name=True,
        between=options.pop("between", ARGUMENTS),
        after=options.pop("after", "}"),
        joint=", " if is_array else "\n",
        closing=("]" if is_array else "\n") + closing,
    )
    marks = tuple(filter(None, (opening, closing)))
    return ToolFormat(
        name,
        (CallSyntax(opening, json_calls.calls(closing)),),
        closing,
        trailers=marks[1:],
        preserved=marks,
        written=written,
        **options,
    )


COMMAND_R = listed(
    "command-r",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    ends_thinking=True,
    before='\n{"tool_call_id": "{number}", "tool_name": ',
    between=', "parameters": ',
    after="}\n",
)
NEMOTRON = listed("nemotron", "<TOOLCALL>", "</TOOLCALL>")
APRIEL = listed("apriel", "<tool_calls>", "</tool_calls>")
MINIMAX_M1 = listed("minimax-m1", "<tool_calls>", "</tool_calls>", is_array=False)
GRANITE = listed("granite", "<|tool_call|>")

# Command R+: Action: ```json [{"tool_name": …, "parameters": …}] ```

_FENCE, _fenced = regex.compile(r"\s*```json"), json_calls.calls("```")


def _read_action(body: Body, functions: Functions) -> Steps:
    if not (yield from body.match(_FENCE)):
        raise NotACall
    yield from _fenced(body, functions)


COMMAND_R_PLUS = ToolFormat(
    "command-r-plus",
    (CallSyntax("Action:", _read_action),),
    trailers=("```",),
    written=Written(
        trigger="Action:",
        opening="Action:\n```json\n[\n",
        before='{"tool_name": ',
        is_json_name=True,
        between=', "parameters": ',
        after="}",
        joint=",\n",
        closing="\n]\n```",
    ),
)

# GigaChat 3.1: <|function_call|>{…}
GIGACHAT = ToolFormat(
    "gigachat",
    (CallSyntax("<|function_call|>", json_calls.calls()),),
    preserved=("<|function_call|>",),
    written=Written(
        trigger="<|function_call|>",
        before="<|function_call|>" + NAME_FIRST,
        is_json_name=True,
        between=ARGUMENTS,
        after="}",
        is_single=True,
    ),
)

# Firefunction: functools[{…}]
FIREFUNCTION = listed("firefunction", "functools")


# Llama 3: {"name": …, "parameters": {…}}, alone or behind <|python_tag|>

LLAMA = ToolFormat(
    "llama",
    (
        CallSyntax("{", json_calls.calls(must_exist=True), is_bare=True, reads_opening=True),
        CallSyntax("<|python_tag|>", json_calls.calls()),
        FUNCTION_SYNTAX,
    ),
    trailers=(";",),
    preserved=("<|python_tag|>",),
    written=Written(
        trigger="",
        plain=r"/[ \n]*([^ \n{<]|<[^|f])(.|\n)*/",
        before=NAME_FIRST,
        is_json_name=True,
        between=', "parameters": ',
        after="}",
        joint="; ",
    ),
)


# Apertus: <|tools_prefix|>[{"NAME": {…}}, …]<|tools_suffix|>

_BEGIN, _NEXT, _END = (regex.compile(part) for part in (r"\s*\[?\s*\{", r"\s*\}\s*,?\s*\{", r"\s*\}"))
_COLON, _CLOSE = regex.compile(r"\s*:\s*(?=\{)"), regex.compile(r"[\s\]]*" + regex.escape("<|tools_suffix|>"))


def _read_apertus(body: Body, functions: Functions) -> Steps:
    if not (yield from body.match(_BEGIN)):
        raise NotACall
    while True:
        name = yield from json_calls.string(body)
        if not (yield from body.match(_COLON)):
            raise NotACall
        yield from json_calls.named_value(body, name)
        if not (yield from body.match(_NEXT)):
            break
    yield from body.match(_END)
    yield from body.match(_CLOSE)


APERTUS = ToolFormat(
    "apertus",
    (CallSyntax("<|tools_prefix|>", _read_apertus),),
    "<|tools_suffix|>",
    trailers=("<|tools_suffix|>",),
    preserved=("<|tools_prefix|>", "<|tools_suffix|>"),
    written=Written(
        trigger="<|tools_prefix|>",
        opening="<|tools_prefix|>[",
        before="{",
        is_json_name=True,
        between=": ",
        after="}",
        joint=", ",
        closing="]<|tools_suffix|>",
    ),
)
