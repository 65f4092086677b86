"""Calls as tags: a name in one, and each argument in a tag of its own.

The text of an argument says nothing of its type; the function's schema does. Where that leaves it open, what reads as
JSON is taken as that, everything else as a string. So an argument comes when its value is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import regex

from localai_flask.chat.formats import json_calls
from localai_flask.chat.formats.base import (
    Begun,
    Body,
    CallSyntax,
    Ended,
    Functions,
    NotACall,
    Read,
    Said,
    Steps,
    ToolFormat,
)
from localai_flask.chat.formats.notation import BlockNotation, CallNotation, Notation, TaggedArguments


def types_of(schema: Any) -> set[str] | None:
    """Return the JSON types that a schema allows; None if it does not say."""
    if not isinstance(schema, Mapping):
        return None
    kind = schema.get("type")
    if isinstance(kind, str | list):
        return {kind} if isinstance(kind, str) else set(kind)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            each = [types_of(one) for one in schema[key]]
            return set().union(*(one or {"any"} for one in each))
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list) and values and all(isinstance(one, str) for one in values):
        return {"string"}
    return None


def json_value(text: str, schema: Any, is_text: bool | None = None) -> str:
    """Return an argument's text as JSON text, of the type that its schema wants.

    `is_text` tells what the model said of it. Models write a new line around a value that is no part of it.
    """
    types = types_of(schema)
    if isinstance(schema, Mapping) and text.strip() in (schema.get("enum") or ()):
        return json_calls.encode(text.strip())
    if is_text or (is_text is None and types == {"string"}):
        return json_calls.encode(text)
    try:
        read = msgspec.json.decode(text)
    except json_calls.FAULTS:
        plain = text.strip()
        if plain in _PYTHON and types is not None and "string" not in types:
            return _PYTHON[plain]
        return json_calls.encode(text)
    if types is not None and "string" in types and isinstance(read, int | float) and not types & {"integer", "number"}:
        return json_calls.encode(text)
    return text.strip()


_PYTHON = {"True": "true", "False": "false", "None": "null"}


def tagged(
    head: str,
    parameter: str,
    value_end: str | Callable[[str], str],
    tail: str,
    closing: str = "",
) -> Read:
    """Read calls: a `head` with the name, `parameter`s each with a `key` and its value up to `value_end`, a `tail`.

    With `closing`, which stands behind all calls, there may be several. A pattern `parameter` may have a group `text`,
    "true" for a string and "false" for JSON.
    """
    begins, goes_on, ends = (regex.compile(rf"\s*{part}") for part in (head, parameter, tail))
    closes = regex.compile(rf"\s*{closing}")

    def read_call(body: Body, name: str, functions: Functions) -> Steps:
        properties = functions.get(name, {}).get("properties") or {}
        found = yield from body.match(goes_on)
        is_closed = found is None and (yield from body.match(ends)) is not None
        if found is None and not is_closed:
            raise NotACall
        yield Begun(name)
        yield Said("{")  # an object that has no end cannot be taken for a whole one, wherever the answer is cut
        before = ""
        while found is not None:
            key = found["key"].strip()
            text = yield from body.until(value_end if isinstance(value_end, str) else value_end(key))
            text = text.removeprefix("\n").removesuffix("\n")
            said = found.groupdict().get("text")
            value = json_value(text, properties.get(key), said == "true" if said else None)
            yield Said(f"{before}{json_calls.encode(key)}: {value}")
            before = ", "
            found = yield from body.match(goes_on)
        yield Said("}")
        yield Ended()
        if not is_closed:
            yield from body.match(ends)

    def read(body: Body, functions: Functions) -> Steps:
        found = yield from body.match(begins)
        if found is None:
            raise NotACall
        while found is not None:
            yield from read_call(body, found["name"], functions)
            found = (yield from body.match(begins)) if closing else None
        if closing:
            yield from body.match(closes)

    return read


# Qwen3-Coder: <tool_call><function=NAME><parameter=KEY>VALUE</parameter>…</function></tool_call>


def _functions_in(name: str, outer: str) -> ToolFormat:
    opening, closing = f"<{outer}>", f"</{outer}>"
    inner = r"<parameter=(?P<key>[^<>]+)>", "</parameter>", "</function>"
    return ToolFormat(
        name,
        (
            CallSyntax(opening, tagged(r"(?:<function=)?(?P<name>[^<>\s]+)>", *inner, regex.escape(closing))),
            # The models leave the outer opening tag out now and then, but not the closing one.
            CallSyntax("<function=", tagged(r"(?P<name>[\w.\-:]+)>", *inner, regex.escape(closing))),
        ),
        "</function>",
        trailers=(closing,),
        preserved=(opening, closing),
        notation=Notation(
            trigger=opening,
            call=CallNotation(before=f"{opening}\n<function=", between=">\n", after=f"\n</function>\n{closing}"),
            arguments=TaggedArguments(before="<parameter=", text=">\n", json=">\n", after="</parameter>\n"),
        ),
    )


QWEN_CODER = _functions_in("qwen3-coder", "tool_call")
SEED = _functions_in("seed", "seed:tool_call")


# GLM 4.5: <tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>…</tool_call>


def _keys_and_values(name: str, mark: str = "", outer: str = "", sep: str = "") -> ToolFormat:
    """Make the format of GLM, or of a model whose tags all end in `mark`."""
    tag = {
        word: (f"<{word}{mark}>", f"</{word}{mark}>") for word in ("tool_call", "arg_key", "arg_value", "tool_calls")
    }
    (opening, closing), key, value = tag["tool_call"], tag["arg_key"], tag["arg_value"]
    block = tag["tool_calls"] if outer else ("", "")
    read = tagged(
        (rf"{opening}\s*" if outer else "") + rf"(?P<name>[\w.\-:]+)\s*{sep}(?=\s*<)",
        rf"{key[0]}(?P<key>.*?){key[1]}\s*{value[0]}",
        value[1],
        closing,
        block[1],
    )
    return ToolFormat(
        name,
        (CallSyntax(block[0] or opening, read),),
        closing,
        trailers=(block[1],) if outer else (),
        preserved=tuple(filter(None, (opening, closing, *key, *value, *block, sep))),
        notation=Notation(
            trigger=block[0] or opening,
            call=CallNotation(before=opening, between=sep + "\n", after=closing),
            block=BlockNotation(opening=block[0] + "\n" if outer else "", closing="\n" + block[1] if outer else ""),
            arguments=TaggedArguments(
                before=key[0], text=f"{key[1]}\n{value[0]}", json=f"{key[1]}\n{value[0]}", after=value[1] + "\n"
            ),
        ),
    )


GLM = _keys_and_values("glm")
HUNYUAN = _keys_and_values("hunyuan", ":opensource", "tool_calls", "<tool_sep:opensource>")


# MiniMax M2 and DeepSeek V3.2: <BLOCK><invoke name="NAME"><parameter name="KEY">VALUE</parameter>…</invoke>…</BLOCK>


def _invocations(block: str, mark: str = "", is_typed: bool = False) -> tuple[CallSyntax, Notation]:
    """Make the syntax of a block of calls whose tags begin with `mark`."""
    opening, closing = f"<{mark}{block}>", f"</{mark}{block}>"
    read = tagged(
        rf'<{mark}invoke name="(?P<name>[^"]+)">',
        rf'<{mark}parameter name="(?P<key>[^"]+)"(?: string="(?P<text>true|false)")?>',
        f"</{mark}parameter>",
        f"</{mark}invoke>",
        closing,
    )
    typed = ('" string="true">', '" string="false">') if is_typed else ('">', '">')
    notation = Notation(
        trigger=opening,
        call=CallNotation(before=f'<{mark}invoke name="', between='">\n', after=f"</{mark}invoke>"),
        block=BlockNotation(opening=opening + "\n", closing="\n" + closing),
        arguments=TaggedArguments(
            before=f'<{mark}parameter name="', text=typed[0], json=typed[1], after=f"</{mark}parameter>\n"
        ),
    )
    return CallSyntax(opening, read), notation


def _invoking(name: str, blocks: tuple[str, ...], mark: str = "", **options: Any) -> ToolFormat:
    made = [_invocations(block, mark, bool(options.get("is_typed"))) for block in blocks]
    marks = tuple(f"<{slash}{mark}{block}>" for block in blocks for slash in ("", "/"))
    return ToolFormat(
        name,
        tuple(syntax for syntax, _ in made),
        f"</{mark}invoke>",
        trailers=marks[1::2],
        preserved=options.get("preserved", marks),
        notation=made[-1][1],
    )


MINIMAX = _invoking("minimax", ("minimax:tool_call",))
MUSE = _invoking("muse", ("function_calls",), "atem:")
_DSML = "｜DSML｜"
DEEPSEEK_TAGS = _invoking("deepseek-tags", ("tool_calls", "function_calls"), _DSML, is_typed=True, preserved=(_DSML,))
DEEPSEEK_V4 = _invoking("deepseek-v4", ("function_calls", "tool_calls"), _DSML, is_typed=True, preserved=(_DSML,))


# MiniMax M3: the same with a mark before each tag, and tags named as the parameters

_M3 = "]<]minimax[>["
_m3 = regex.escape(_M3)
MINIMAX_M3 = ToolFormat(
    "minimax-m3",
    (
        CallSyntax(
            _M3 + "<tool_call>",
            tagged(
                rf'{_m3}<invoke name="(?P<name>[^"]+)">',
                rf"{_m3}<(?P<key>[^<>/]+)>",
                lambda key: f"{_M3}</{key}>",
                rf"{_m3}</invoke>",
                rf"{_m3}</tool_call>",
            ),
        ),
    ),
    _M3 + "</invoke>",
    trailers=(_M3 + "</tool_call>",),
    preserved=(_M3, "<tool_call>", "</tool_call>"),
    notation=Notation(
        trigger=_M3 + "<tool_call>",
        call=CallNotation(before=_M3 + '<invoke name="', between='">', after=_M3 + "</invoke>"),
        block=BlockNotation(opening=_M3 + "<tool_call>\n", closing=f"\n{_M3}</tool_call>"),
        arguments=TaggedArguments(before=_M3 + "<", text=">", json=">", after=_M3 + "</{key}>"),
    ),
)


# MiniCPM 5: <function name="NAME"><param name="KEY">VALUE</param>…</function>

MINICPM = ToolFormat(
    "minicpm",
    (
        CallSyntax(
            '<function name="',
            tagged(r'(?P<name>[^"<>]+)">', r'<param name="(?P<key>[^"]+)">', "</param>", "</function>"),
        ),
    ),
    "</function>",
    preserved=("<function", "</function>", "<param", "</param>"),
    notation=Notation(
        trigger='<function name="',
        call=CallNotation(before='<function name="', between='">', after="</function>"),
        arguments=TaggedArguments(before='<param name="', text='">', json='">', after="</param>"),
    ),
)
