"""Calls as tags: a name in one tag, and each argument in a tag of its own, or all of them as JSON.

The text of an argument says nothing of its type; what reads as JSON is taken as that, everything else as a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from localai_flask.chat.formats import jsontext
from localai_flask.chat.formats.base import CallSyntax, ParsedCall, ToolFormat, enclosed

_NAME = re.compile(r"[\w.\-:]+")


def value(text: str) -> msgspec.Raw | str:
    """Take an argument's text as JSON if it is any, else as a string."""
    try:
        msgspec.json.decode(text)
    except jsontext.FAULTS:
        return text
    return msgspec.Raw(text.strip().encode())


def arguments(pairs: Iterable[tuple[str, msgspec.Raw | str]]) -> str:
    return msgspec.json.encode(dict(pairs)).decode()


def _starts_with(beginning: str, alternative: str = "") -> re.Pattern[str]:
    """Match a text whose first words are, or may become, one of these."""
    partial = "|".join(
        re.escape(word[:length]) + r"\Z" for word in (beginning, alternative) for length in range(len(word))
    )
    whole = "|".join(re.escape(word) for word in (beginning, alternative) if word)
    return re.compile(rf"\s*(?:{whole}|{partial})")


# Qwen3-Coder: <tool_call><function=NAME><parameter=KEY>VALUE</parameter>…</function></tool_call>

_QWEN_CALL = re.compile(r"\s*(?:<function=)?([^<>\s]+)>(.*)", re.DOTALL)
_QWEN_ARGUMENT = re.compile(r"\s*<parameter=([^<>]+)>(.*?)</parameter>", re.DOTALL)


def _read_qwen(body: str) -> list[ParsedCall] | None:
    found = _QWEN_CALL.fullmatch(body)
    if found is None:
        return None
    name, rest = found[1], found[2].strip().removesuffix("</function>")
    pairs, end = [], 0
    for argument in _QWEN_ARGUMENT.finditer(rest):
        if argument.start() != end:
            return None
        end = argument.end()
        text = argument[2].removeprefix("\n").removesuffix("\n")
        pairs.append((argument[1].strip(), value(text)))
    return [ParsedCall(name, arguments(pairs))] if not rest[end:].strip() else None


def _qwen_is_inside(body: str) -> bool:
    return body.rfind("<parameter=") > body.rfind("</parameter>")


_qwen_begins = _starts_with("<function=")

QWEN_CODER = ToolFormat(
    "qwen3-coder",
    (
        enclosed(
            "<tool_call>", "</tool_call>", _read_qwen, lambda body: bool(_qwen_begins.match(body)), _qwen_is_inside
        ),
        # The models leave the outer opening tag out now and then, but not the closing one.
        enclosed("<function=", "</function>", _read_qwen, lambda body: _may_be_name(body, ">"), _qwen_is_inside),
    ),
    "</function>",
    trailers=("</tool_call>",),
    preserved=("<tool_call>", "</tool_call>"),
)


# GLM 4.5: <tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>…</tool_call>

_GLM_CALL = re.compile(r"\s*([\w.\-:]+)\s*(<arg_key>.*)?", re.DOTALL)
_GLM_ARGUMENT = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)


def _read_glm(body: str) -> list[ParsedCall] | None:
    found = _GLM_CALL.fullmatch(body)
    if found is None:
        return None
    rest, pairs, end = found[2] or "", [], 0
    for argument in _GLM_ARGUMENT.finditer(rest):
        if argument.start() != end:
            return None
        end = argument.end()
        pairs.append((argument[1].strip(), value(argument[2])))
    return [ParsedCall(found[1], arguments(pairs))] if not rest[end:].strip() else None


_GLM_TAGS = tuple(f"<{slash}{tag}>" for slash in ("", "/") for tag in ("arg_key", "arg_value"))

GLM = ToolFormat(
    "glm",
    (
        enclosed(
            "<tool_call>",
            "</tool_call>",
            _read_glm,
            lambda body: _may_be_name(body.lstrip(), "<\n"),
            lambda body: body.rfind("<arg_value>") > body.rfind("</arg_value>"),
        ),
    ),
    "</tool_call>",
    preserved=("<tool_call>", "</tool_call>", *_GLM_TAGS),
)


def _may_be_name(body: str, ends: str) -> bool:
    """Tell whether the text begins with a function's name, which one of the characters `ends` comes after."""
    name = _NAME.match(body)
    rest = body[name.end() :] if name else body
    return not rest or (name is not None and rest[0] in ends)


# Functionary 3.1 and Llama: <function=NAME>{…}</function>


def _read_function(body: str) -> list[ParsedCall] | None:
    name, mark, rest = body.partition(">")
    text = jsontext.object_text(rest)
    return [ParsedCall(name, text)] if mark and name and text is not None else None


FUNCTION_SYNTAX = enclosed(
    "<function=", "</function>", _read_function, lambda body: _may_be_name(body, ">"), jsontext.is_inside_string
)
FUNCTION = ToolFormat("function-tag", (FUNCTION_SYNTAX,), "</function>", preserved=("<function=", "</function>"))


# MiniMax M2 and DeepSeek V3.2: <BLOCK><invoke name="NAME"><parameter name="KEY">VALUE</parameter>…</invoke>…</BLOCK>


def _invocations(opening: str, closing: str, mark: str = "") -> CallSyntax:
    """Make the syntax of a block of calls whose tags begin with `mark`."""
    # A last call may lack its end, if the model was stopped there.
    call = re.compile(rf'\s*<{mark}invoke name="([^"]+)">(.*?)(?:</{mark}invoke>|\Z)', re.DOTALL)
    argument = re.compile(
        rf'\s*<{mark}parameter name="([^"]+)"(?: string="(true|false)")?>(.*?)</{mark}parameter>', re.DOTALL
    )
    begins = _starts_with(f"<{mark}invoke")

    def read(body: str) -> list[ParsedCall] | None:
        calls, end = [], 0
        for each in call.finditer(body):
            pairs, inner = [], 0
            for one in argument.finditer(each[2]):
                if one.start() != inner:
                    return None
                inner = one.end()
                pairs.append((one[1], one[3] if one[2] == "true" else value(one[3])))
            if each.start() != end or each[2][inner:].strip():
                return None
            end = each.end()
            calls.append(ParsedCall(each[1], arguments(pairs)))
        return calls if calls and not body[end:].strip() else None

    def is_inside(body: str) -> bool:
        return body.rfind(f"<{mark}parameter ") > body.rfind(f"</{mark}parameter>")

    return enclosed(opening, closing, read, lambda body: bool(begins.match(body)), is_inside)


MINIMAX = ToolFormat(
    "minimax",
    (_invocations("<minimax:tool_call>", "</minimax:tool_call>"),),
    "</invoke>",
    preserved=("<minimax:tool_call>", "</minimax:tool_call>"),
)

_DSML = "｜DSML｜"
DEEPSEEK_TAGS = ToolFormat(
    "deepseek-tags",
    tuple(_invocations(f"<{_DSML}{block}>", f"</{_DSML}{block}>", _DSML) for block in ("function_calls", "tool_calls")),
    f"</{_DSML}invoke>",
    preserved=(_DSML,),
)
