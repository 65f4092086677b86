"""Go's number, string and character constants."""

from __future__ import annotations

import re

from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.values import INT64_MAX, INT64_MIN, from_utf8, to_utf8

ESCAPE = re.compile(r"\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
DECIMAL_INT = re.compile(r"[+-]?(0|[1-9](_?\d)*)\Z", re.ASCII)
OTHER_INT = re.compile(r"[+-]?0(?:[xX](_?[\da-fA-F])+|[oO]?(_?[0-7])+|[bB](_?[01])+)\Z")
FLOAT = re.compile(r"[+-]?(\d(_?\d)*(\.(\d(_?\d)*)?)?|\.\d(_?\d)*)([eE][+-]?\d+)?\Z", re.ASCII)


def number(text: str) -> int | float:
    """Read a number; raises `Fault` if it is none or does not fit 64 bits."""
    digits = text.replace("_", "")
    if DECIMAL_INT.match(text):
        # Longer ones cannot fit; int() would refuse thousands of digits with an error of its own.
        value = int(digits) if len(digits) < 25 else INT64_MAX + 1
    elif OTHER_INT.match(text):
        value = int(_with_octal_mark(digits), 0)
    elif FLOAT.match(text):
        return _finite(digits, text)
    else:
        raise Fault(f"`{text[:40]}` is no number that templates know (complex numbers are not supported)")
    if not INT64_MIN <= value <= INT64_MAX:
        raise Fault(f"the number {text[:40]} does not fit into 64 bits")
    return value


def _with_octal_mark(digits: str) -> str:
    sign, rest = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
    return f"{sign}0o{rest[1:]}" if rest[1:2].isdigit() else digits


def _finite(digits: str, text: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise Fault(f"the number {text[:40]} does not fit into 64 bits")
    return value


def string(text: str) -> str:
    """Read a quoted string with its escapes; raises `Fault` for an unknown one."""
    return _unescape(text[1:-1], quote='"')


def character(text: str) -> int:
    """Read a character constant, which is the character's number."""
    value = _unescape(text[1:-1], quote="'")
    if len(value) != 1:
        raise Fault(f"the character constant {text[:40]} holds more than one character")
    return ord(value)


def _unescape(text: str, quote: str) -> str:
    def replace(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape in SIMPLE or escape == quote:
            return SIMPLE.get(escape, escape)
        if len(escape) == 1:
            raise Fault(f"`\\{escape}` is no escape that strings know")
        if escape[0] in "uU":
            return _code_point(escape)
        byte = int(escape[1:], 16) if escape[0] == "x" else int(escape, 8)
        if byte > 255:
            raise Fault(f"`\\{escape}` is no escape that strings know")
        return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)

    # Bytes written one by one may form characters together.
    return from_utf8(to_utf8(ESCAPE.sub(replace, text)))


def _code_point(escape: str) -> str:
    value = int(escape[1:], 16)
    if value > 0x10FFFF or 0xD800 <= value <= 0xDFFF:
        raise Fault(f"`\\{escape}` is no character of Unicode")
    return chr(value)
