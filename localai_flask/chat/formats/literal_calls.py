"""Calls whose values are no JSON, value by value: Python's keywords (LFM2, Llama 4, Gemma 3), Gemma 4's own way."""

from __future__ import annotations

import ast
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import regex

from localai_flask.chat.formats import json_calls
from localai_flask.chat.formats.base import (
    Begun,
    Body,
    CallSyntax,
    CutOff,
    Ended,
    Functions,
    NotACall,
    Read,
    Said,
    Steps,
    ToolFormat,
)
from localai_flask.chat.formats.notation import BlockNotation, CallNotation, Notation, PairedArguments, PlainText

LONGEST = 100_000
"""Characters of one value that are parsed; Python's parser takes much memory for each."""

_LONGEST_QUOTE = 5
"""Characters of the longest mark, Gemma's."""
_CONSTANTS = {"true": True, "false": False, "null": None}
_FAULTS = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class _Quote:
    """A mark that stands before and behind a text; `escapes` if a backslash takes a mark's meaning."""

    mark: str
    escapes: bool = True

    def find_end(self, text: str, at: int) -> tuple[int, bool]:
        """Return where the closing mark ends, or where to look on once there is more text; and whether it was found."""
        while (end := text.find(self.mark, at)) >= 0:
            escape = text.find("\\", at, end) if self.escapes else -1
            if escape < 0:
                return end + len(self.mark), True
            at = escape + 2
        if self.escapes:
            while (escape := text.find("\\", at)) >= 0:
                if escape + 2 > len(text):
                    return escape, False
                at = escape + 2
        return max(len(text) - len(self.mark) + 1, at), False


def _upto(body: Body, quotes: Sequence[_Quote], stops: str) -> Generator[None, None, tuple[str, str]]:
    """Take a value's text, and which of the characters `stops` ends it; none does within quotes or brackets."""
    depth, offset = 0, 0
    while True:
        quote = yield from _quote_at(body, quotes, offset)
        if quote is not None:
            behind = yield from _behind_quoted(body, quote, offset + len(quote.mark))
            if behind is None:  # an apostrophe, or the like
                quotes = [each for each in quotes if each is not quote]
            else:
                offset = behind
            continue
        at = body.at + offset
        if at >= len(body.text):
            if body.is_whole:
                raise CutOff
            yield None
            continue
        char = body.text[at]
        if depth == 0 and char in stops:
            text, body.at = body.text[body.at : at], at + 1
            return text, char
        depth += (char in "([{") - (char in ")]}")
        offset += 1


def _quote_at(body: Body, quotes: Sequence[_Quote], offset: int) -> Generator[None, None, _Quote | None]:
    """Return the quote that opens here, as soon as the text is long enough to tell."""
    while True:
        at = body.at + offset
        ahead = body.text[at : at + _LONGEST_QUOTE]
        if found := next((quote for quote in quotes if ahead.startswith(quote.mark)), None):
            return found
        if body.is_whole or not ahead or not any(quote.mark.startswith(ahead) for quote in quotes):
            return None
        yield None


def _behind_quoted(body: Body, quote: _Quote, offset: int) -> Generator[None, None, int | None]:
    """Return the offset behind a quoted text; None if the quote is never closed."""
    while True:
        end, is_closed = quote.find_end(body.text, body.at + offset)
        offset = end - body.at
        if is_closed:
            return offset
        if body.is_whole:
            return None
        yield None


def _pairs(
    body: Body, key: regex.Pattern[str], quotes: Sequence[_Quote], end: str, read: Callable[[str], str]
) -> Steps:
    """Emit an object of keys and values up to `end`, one by one."""
    before, stop = "", ","
    closing = regex.compile(rf"\s*{regex.escape(end)}")
    yield Said("{")
    if (yield from body.match(closing)):
        yield Said("}")
        return
    while stop == ",":
        found = yield from body.match(key)
        if found is None:
            raise CutOff
        text, stop = yield from _upto(body, quotes, "," + end)
        yield Said(f"{before}{json_calls.encode(found[1].strip())}: {read(text)}")
        before = ", "
    yield Said("}")


# [NAME(KEY=VALUE, …), …]

_PYTHON_HEAD = regex.compile(r"\s*([A-Za-z_][\w.\-]*)\(\s*(?=[A-Za-z_]\w*\s*=|\))")
_PYTHON_KEY = regex.compile(r"\s*([A-Za-z_]\w*)\s*=")
_PYTHON_QUOTES = (_Quote('"'), _Quote("'"))
_OPEN_LIST, _COMMA, _CLOSE_LIST = (
    regex.compile(r"\s*\["),
    regex.compile(r"\s*[,;]\s*(?=[A-Za-z_])"),
    regex.compile(r"\s*\]"),
)
_IS_JSON = regex.compile(r"\s*\[?\s*(?=\{)")


def _python_value(text: str) -> str:
    try:
        if len(text) > LONGEST:
            raise ValueError
        return json_calls.encode(_literal(ast.parse(text.strip(), mode="eval").body))
    except _FAULTS:
        return json_calls.encode(text.strip())


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.List):
        return [_literal(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        return {str(_literal(key)): _literal(each) for key, each in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)


def python_calls(closing: str = "", *, must_exist: bool = False) -> Read:
    """Read Python calls with named arguments, alone or in a list."""
    closes = regex.compile(rf"\s*{regex.escape(closing)}")
    as_json = json_calls.calls(closing, must_exist=must_exist)

    def read(body: Body, functions: Functions) -> Steps:
        if (yield from body.match(_IS_JSON)):
            yield from as_json(body, functions)
            return
        yield from body.match(_OPEN_LIST)
        found = yield from body.match(_PYTHON_HEAD)
        if found is None:
            raise NotACall
        while found is not None:
            if must_exist and found[1] not in functions:
                raise NotACall
            yield Begun(found[1])
            yield from _pairs(body, _PYTHON_KEY, _PYTHON_QUOTES, ")", _python_value)
            yield Ended()
            found = (yield from body.match(_PYTHON_HEAD)) if (yield from body.match(_COMMA)) else None
        yield from body.match(_CLOSE_LIST)
        if closing:
            yield from body.match(closes)

    return read


def _python_notation(opening: str, closing: str, plain: PlainText | None = None) -> Notation:
    return Notation(
        trigger=opening,
        call=CallNotation(between="(", after=")"),
        block=BlockNotation(opening=opening + "[", joint=", ", closing="]" + closing),
        arguments=PairedArguments(sign="="),
        plain=plain,
    )


_LFM_OPENING, _LFM_CLOSING = "<|tool_call_start|>", "<|tool_call_end|>"
LFM2 = ToolFormat(
    "lfm2",
    (CallSyntax(_LFM_OPENING, python_calls(_LFM_CLOSING)),),
    _LFM_CLOSING,
    trailers=(_LFM_CLOSING,),
    preserved=(_LFM_OPENING, _LFM_CLOSING),
    notation=_python_notation(_LFM_OPENING, _LFM_CLOSING),
)

LLAMA4 = ToolFormat(
    "llama4",
    (
        CallSyntax("<|python_start|>", python_calls("<|python_end|>")),
        CallSyntax("[", python_calls(must_exist=True), is_bare=True, reads_opening=True),
        CallSyntax("{", json_calls.calls(must_exist=True), is_bare=True, reads_opening=True),
    ),
    trailers=("<|python_end|>", ";"),
    preserved=("<|python_start|>", "<|python_end|>"),
    notation=_python_notation("", "", PlainText(pattern=r"[ \n]*([^ \n{\[<]|<[^|])(.|\n)*")),
)

TOOL_CODE = CallSyntax("```tool_code", python_calls("```", must_exist=True))
"""How Gemma 3 writes calls of functions that were explained to it."""


# Gemma 4: <|tool_call>call:NAME{KEY:<|"|>TEXT<|"|>,KEY:3}<tool_call|>

_QUOTE = '<|"|>'
_GEMMA_HEAD = regex.compile(r"\s*call:([\w.\-]+)\s*\{")
_GEMMA_KEY = regex.compile(r"""\s*(?:<\|"\|>|")?([^:<>"{}\[\],]+)(?:<\|"\|>|")?\s*:\s*""")
_GEMMA_QUOTES = (_Quote(_QUOTE, escapes=False), _Quote('"'))
_GEMMA_CLOSE = regex.compile(r"\s*<tool_call\|>")
_BARE_KEY = regex.compile(r"([{,]\s*)([A-Za-z_][\w.\-]*)(\s*:)")


def _gemma_value(text: str) -> str:
    """Turn a value into JSON: quotes of its own, keys without any."""
    text = text.strip()
    parts = text.split(_QUOTE)
    if len(parts) % 2 == 0:
        return json_calls.encode(text)
    for at, part in enumerate(parts):
        parts[at] = json_calls.encode(part) if at % 2 else _BARE_KEY.sub(r'\1"\2"\3', part)
    written = "".join(parts)
    return written if json_calls.is_json(written) else json_calls.encode(text)


def _read_gemma(body: Body, functions: Functions) -> Steps:
    found = yield from body.match(_GEMMA_HEAD)
    if found is None:
        raise NotACall
    yield Begun(found[1])
    yield from _pairs(body, _GEMMA_KEY, _GEMMA_QUOTES, "}", _gemma_value)
    yield Ended()
    yield from body.match(_GEMMA_CLOSE)


GEMMA4 = ToolFormat(
    "gemma4",
    (CallSyntax("<|tool_call>", _read_gemma),),
    "<tool_call|>",
    trailers=("<tool_call|>", "<|tool_response>"),
    preserved=("<|tool_call>", "<tool_call|>", _QUOTE, "<|tool_response>"),
    notation=Notation(
        trigger="<|tool_call>",
        call=CallNotation(before="<|tool_call>call:", between="{", after="}<tool_call|>"),
        block=BlockNotation(joint=""),
        arguments=PairedArguments(sign=":", quote=_QUOTE),
    ),
)
