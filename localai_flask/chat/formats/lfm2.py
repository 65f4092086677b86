"""LFM2's calls, written as a list of Python calls: `<|tool_call_start|>[f(a="x", n=1)]<|tool_call_end|>`."""

from __future__ import annotations

import ast
import re

import msgspec

from localai_flask.chat.formats import jsontext
from localai_flask.chat.formats.base import ParsedCall, ToolFormat, enclosed

LONGEST = 100_000
"""Characters of a list of calls that are parsed; Python's parser takes much memory for each."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', re.DOTALL)
_CONSTANTS = {"true": True, "false": False, "null": None}
_FAULTS = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)


def _read(body: str) -> list[ParsedCall] | None:
    text = body.strip()
    if text.startswith(("{", "[{")):
        return jsontext.read_calls(text)
    if not text or len(text) > LONGEST:
        return None
    try:
        tree = ast.parse(text, mode="eval").body
        calls = [_call(each) for each in (tree.elts if isinstance(tree, ast.List) else [tree])]
    except _FAULTS:
        return None
    return calls or None


def _call(node: ast.expr) -> ParsedCall:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("no call with named arguments only")
    pairs = {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    if len(pairs) != len(node.keywords):
        raise ValueError("arguments that have no name, or the same")
    return ParsedCall(ast.unparse(node.func), msgspec.json.encode(pairs).decode())


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.List):
        return [_value(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        return {str(_value(key)): _value(each) for key, each in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)


def _may_be_call(body: str) -> bool:
    return re.match(r"[\w\[{]|\Z", body.lstrip()) is not None


def _is_inside_string(body: str) -> bool:
    rest = _STRING.sub("", body)
    return '"' in rest or "'" in rest


_OPENING, _CLOSING = "<|tool_call_start|>", "<|tool_call_end|>"

LFM2 = ToolFormat(
    "lfm2",
    (enclosed(_OPENING, _CLOSING, _read, _may_be_call, _is_inside_string),),
    _CLOSING,
    preserved=(_OPENING, _CLOSING),
)
