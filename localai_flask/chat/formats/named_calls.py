"""Calls as a name and a JSON object: Mistral, Functionary, Kimi K2, DeepSeek up to V3.1, Solar, and `<function=…>`."""

from __future__ import annotations

import hashlib

import regex

from localai_flask.chat.formats import json_calls
from localai_flask.chat.formats.base import (
    Body,
    CallSyntax,
    Functions,
    NotACall,
    Read,
    Steps,
    ToolFormat,
)
from localai_flask.chat.formats.notation import BlockNotation, CallNotation, Notation

NAME = r"(?P<name>[\w.\-]+)"


def named(head: str, tail: str = "", closing: str = "") -> Read:
    """Read calls whose `head` ends before the object of arguments; `tail` follows each and `closing` all of them.

    Where the object is missing, the function takes no arguments. Without `closing` there is one call only.
    """
    begins = regex.compile(rf"\s*{head}\s*(?=\{{" + (f"|{tail})" if tail else ")"))
    brace, ends, closes = regex.compile(r"(?=\{)"), regex.compile(rf"\s*{tail}"), regex.compile(rf"\s*{closing}")

    def read(body: Body, functions: Functions) -> Steps:
        found = yield from body.match(begins)
        if found is None:
            raise NotACall
        while found is not None:
            if (yield from body.match(brace)):
                yield from json_calls.named_value(body, found["name"])
            else:
                yield from json_calls.whole(found["name"], "{}")
            if tail:
                yield from body.match(ends)
            found = (yield from body.match(begins)) if closing else None
        if closing:
            yield from body.match(closes)

    return read


# Mistral: [TOOL_CALLS][{"name": …, "arguments": …}, …] until 2024, [TOOL_CALLS]NAME[CALL_ID]ID[ARGS]{…} since.

_MARK = "[TOOL_CALLS]"
_LISTED = regex.compile(r"\s*(?=[\[{])")
_mistral_named = named(NAME + r"(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?")
_mistral_listed = json_calls.calls()


def _read_mistral(body: Body, functions: Functions) -> Steps:
    is_listed = yield from body.match(_LISTED)
    yield from (_mistral_listed if is_listed else _mistral_named)(body, functions)


def mistral_id(id: str, name: str, number: int) -> str:
    """Return the nine letters and digits that Mistral's templates want, the same for the same id."""
    if regex.fullmatch("[a-zA-Z0-9]{9}", id):
        return id
    return hashlib.sha256(f"{id}/{name}/{number}".encode() if not id else id.encode()).hexdigest()[:9]


def _mistral(name: str, notation: Notation) -> ToolFormat:
    return ToolFormat(
        name,
        (CallSyntax(_MARK, _read_mistral),),
        preserved=(_MARK, "[CALL_ID]", "[ARGS]"),
        call_id=mistral_id,
        ends_thinking=True,
        notation=notation,
    )


MISTRAL = _mistral(
    "mistral",
    Notation(trigger=_MARK, call=CallNotation(before=_MARK, between="[ARGS]"), block=BlockNotation(joint="")),
)
MISTRAL_LISTED = _mistral(
    "mistral-list",
    Notation(
        trigger=_MARK,
        call=CallNotation(before='{"name": ', between=', "arguments": ', after="}", is_json=True),
        block=BlockNotation(opening=_MARK + "\n[", joint=", ", closing="]"),
    ),
)


# Functionary 3.2: >>>all, a new line and text; or >>>NAME, a new line and {…}

_TO_ALL = regex.compile("all\n")
_functionary_named = named(NAME)


def _read_functionary(body: Body, functions: Functions) -> Steps:
    if not (yield from body.match(_TO_ALL)):
        yield from _functionary_named(body, functions)


FUNCTIONARY = ToolFormat(
    "functionary",
    (CallSyntax(">>>", _read_functionary),),
    lead=">>>",
    notation=Notation(trigger=">>>", call=CallNotation(before=">>>", between="\n"), block=BlockNotation(joint="")),
)


# Kimi K2 and DeepSeek: a section of calls


def _kimi_id(id: str, name: str, number: int) -> str:
    return f"functions.{name}:{number}"


_KIMI_BEGIN, _KIMI_ARGUMENTS = "<|tool_call_begin|>", "<|tool_call_argument_begin|>"
_KIMI_END = "<|tool_call_end|>"
_kimi_opening, _kimi_closing = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
KIMI = ToolFormat(
    "kimi",
    (
        CallSyntax(
            _kimi_opening,
            named(
                regex.escape(_KIMI_BEGIN)
                + r"\s*(?:functions\.)?(?P<name>[^\s<:]+)(?::\d+)?\s*"
                + regex.escape(_KIMI_ARGUMENTS),
                regex.escape(_KIMI_END),
                regex.escape(_kimi_closing),
            ),
        ),
    ),
    _KIMI_END,
    trailers=(_kimi_closing,),
    preserved=(_kimi_opening, _KIMI_BEGIN, _KIMI_ARGUMENTS, _KIMI_END, _kimi_closing),
    call_id=_kimi_id,
    ends_thinking=True,
    notation=Notation(
        trigger=_kimi_opening,
        call=CallNotation(before=_KIMI_BEGIN + "functions.", between=":{number}" + _KIMI_ARGUMENTS, after=_KIMI_END),
        block=BlockNotation(opening=_kimi_opening, joint="", closing=_kimi_closing),
    ),
)

_DEEPSEEK_BEGIN, _DEEPSEEK_END, _SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_deepseek_opening, _deepseek_closing = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
# V3.1 writes NAME, a separator and JSON; V3 and R1 write "function", a separator, NAME and JSON in a code block.
_read_deepseek = named(
    rf"{_DEEPSEEK_BEGIN}\s*(?:function\s*{_SEP}(?P<name>[^\s<]+)\s*```json|(?P<name>[^\s<]+)\s*{_SEP})",
    rf"(?:```\s*)?{_DEEPSEEK_END}",
    _deepseek_closing,
)


def _deepseek(name: str, between: str, after: str, word: str = "", joint: str = "") -> ToolFormat:
    return ToolFormat(
        name,
        (CallSyntax(_deepseek_opening, _read_deepseek),),
        _DEEPSEEK_END,
        trailers=(_deepseek_closing,),
        preserved=(_deepseek_opening, _DEEPSEEK_BEGIN, _SEP, _DEEPSEEK_END, _deepseek_closing),
        ends_thinking=True,
        notation=Notation(
            trigger=_deepseek_opening,
            call=CallNotation(before=_DEEPSEEK_BEGIN + word, between=between, after=after + _DEEPSEEK_END),
            block=BlockNotation(opening=_deepseek_opening, joint=joint, closing=_deepseek_closing),
        ),
    )


DEEPSEEK = _deepseek("deepseek", _SEP, "")
DEEPSEEK_R1 = _deepseek("deepseek-r1", "\n```json\n", "\n```", "function" + _SEP, "\n")


# Solar: <|tool_calls|><|tool_call:begin|>ID<|tool_call:name|>NAME<|tool_call:args|>{…}<|tool_call:end|>

_SOLAR = tuple(f"<|tool_call:{part}|>" for part in ("begin", "name", "args", "end"))
SOLAR = ToolFormat(
    "solar",
    (
        CallSyntax(
            "<|tool_calls|>",
            named(
                rf"{regex.escape(_SOLAR[0])}[^<]*{regex.escape(_SOLAR[1])}(?P<name>[^<]+){regex.escape(_SOLAR[2])}",
                regex.escape(_SOLAR[3]),
                r"(?:<\|calls\|>)",
            ),
        ),
    ),
    _SOLAR[3],
    preserved=("<|tool_calls|>", *_SOLAR, "<|calls|>"),
    notation=Notation(
        trigger="<|tool_calls|>",
        call=CallNotation(before=f"{_SOLAR[0]}call_{{number}}{_SOLAR[1]}", between=_SOLAR[2], after=_SOLAR[3]),
        block=BlockNotation(opening="<|tool_calls|>", joint=""),
    ),
)


# Functionary 3.1 and Llama: <function=NAME>{…}</function>

FUNCTION_SYNTAX = CallSyntax("<function=", named(r"(?P<name>[\w.\-:]+)>", "</function>"))
FUNCTION = ToolFormat(
    "function-tag",
    (FUNCTION_SYNTAX,),
    "</function>",
    preserved=("<function=", "</function>"),
    notation=Notation(
        trigger="<function=",
        call=CallNotation(before="<function=", between=">", after="</function>"),
        block=BlockNotation(joint=""),
    ),
)
