"""Calls as JSON objects with a name and arguments, between markers or behind one; the markers differ, JSON hardly."""

from __future__ import annotations

import regex

from localai_flask.chat.formats import json_calls
from localai_flask.chat.formats.base import Body, CallSyntax, Functions, NotACall, Steps, ToolFormat
from localai_flask.chat.formats.named_calls import FUNCTION_SYNTAX
from localai_flask.chat.formats.notation import BlockNotation, CallNotation, Notation, PlainText

NAME_FIRST = '{"name": '
ARGUMENTS = ', "arguments": '


NAME_AND_ARGUMENTS = CallNotation(before=NAME_FIRST, between=ARGUMENTS, after="}", is_json=True)


def listed(
    name: str,
    opening: str,
    closing: str = "",
    *,
    call: CallNotation = NAME_AND_ARGUMENTS,
    is_array: bool = True,
    ends_thinking: bool = False,
) -> ToolFormat:
    """Make the format of a list of objects between two markers, or behind one."""
    block = BlockNotation(
        opening=opening + ("[" if is_array else "\n"),
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
        ends_thinking=ends_thinking,
        notation=Notation(trigger=opening, call=call, block=block),
    )


COMMAND_R = listed(
    "command-r",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    call=CallNotation(
        before='\n{"tool_call_id": "{number}", "tool_name": ', between=', "parameters": ', after="}\n", is_json=True
    ),
    ends_thinking=True,
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
    notation=Notation(
        trigger="Action:",
        call=CallNotation(before='{"tool_name": ', between=', "parameters": ', after="}", is_json=True),
        block=BlockNotation(opening="Action:\n```json\n[\n", joint=",\n", closing="\n]\n```"),
    ),
)

# GigaChat 3.1: <|function_call|>{…}
GIGACHAT = ToolFormat(
    "gigachat",
    (CallSyntax("<|function_call|>", json_calls.calls()),),
    preserved=("<|function_call|>",),
    notation=Notation(
        trigger="<|function_call|>",
        call=CallNotation(before="<|function_call|>" + NAME_FIRST, between=ARGUMENTS, after="}", is_json=True),
        block=BlockNotation(is_single=True),
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
    notation=Notation(
        call=CallNotation(before=NAME_FIRST, between=', "parameters": ', after="}", is_json=True),
        block=BlockNotation(joint="; "),
        plain=PlainText(pattern=r"[ \n]*([^ \n{<]|<[^|f])(.|\n)*"),
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
    notation=Notation(
        trigger="<|tools_prefix|>",
        call=CallNotation(before="{", between=": ", after="}", is_json=True),
        block=BlockNotation(opening="<|tools_prefix|>[", joint=", ", closing="]<|tools_suffix|>"),
    ),
)
