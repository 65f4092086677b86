"""Go's `printf`: verbs, flags, widths, and the marks that Go prints for arguments that do not fit."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from localai_flask.gotemplate.budget import Budget, Writer
from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.text import numerals
from localai_flask.gotemplate.text.printing import quoted, scalar_text, to_text
from localai_flask.gotemplate.values import Record, Value, sorted_items, to_utf8, type_name

DIRECTIVE = re.compile(
    r"%(?P<flags>[-+# 0]*)(?P<width>\*|\d+)?(?P<precision>\.(?:\*|\d+)?)?(?:\[(?P<index>\d+)\])?(?P<verb>.)?", re.DOTALL
)
MAX_WIDTH = 1_000_000
"""Go's own limit for widths and precisions."""

BASES = {"d": "d", "b": "b", "o": "o", "x": "x", "X": "X", "O": "o"}
PREFIXES = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}


@dataclass(frozen=True, slots=True)
class Directive:
    verb: str
    flags: str
    width: int
    precision: int | None


class Arguments:
    """The values to print, taken one after the other or by their number."""

    def __init__(self, values: Sequence[Value]):
        self.values = values
        self.position = 0
        self.by_number = False

    def take(self) -> Iterator[Value]:
        """Yield the next value, if there is one."""
        if self.position < len(self.values):
            self.position += 1
            yield self.values[self.position - 1]

    def number(self) -> int:
        """Take the next value for a width; raises `Fault` if it is no integer."""
        for value in self.take():
            if type(value) is int:
                return value
        raise Fault("printf: `*` takes its width from an integer argument")


def sprintf(budget: Budget, template: str, values: Sequence[Value]) -> str:
    """Print values into a template of Go's verbs; raises `Fault` for what is not supported."""
    writer, arguments, position = Writer(budget), Arguments(values), 0
    for match in DIRECTIVE.finditer(template):
        writer.write(template[position : match.start()])
        writer.write(_directive(budget, match, arguments))
        position = match.end()
    writer.write(template[position:])
    if arguments.position < len(values) and not arguments.by_number:
        extra = (f"{type_name(value)}={to_text(budget, value)}" for value in values[arguments.position :])
        writer.write(f"%!(EXTRA {', '.join(extra).replace('<nil>=<nil>', '<nil>')})")
    return writer.text()


def _directive(budget: Budget, match: re.Match[str], arguments: Arguments) -> str:
    budget.spend()
    verb = match["verb"]
    if verb is None:
        return "%!(NOVERB)"
    if verb == "%":
        return "%"
    directive = _parsed(match, arguments)
    if match["index"]:
        arguments.by_number = True
        arguments.position = int(match["index"][:9]) - 1
        if not 0 <= arguments.position < len(arguments.values):
            return f"%!{verb}(BADINDEX)"
    for value in arguments.take():
        return _formatted(budget, directive, value)
    return f"%!{verb}(MISSING)"


def _parsed(match: re.Match[str], arguments: Arguments) -> Directive:
    flags, precision = match["flags"], None
    width = arguments.number() if match["width"] == "*" else int((match["width"] or "0")[:9])
    if width < 0:
        flags, width = flags + "-", -width
    if match["precision"] is not None:
        digits = match["precision"][1:]
        precision = arguments.number() if digits == "*" else int(digits[:9] or "0")
    if width > MAX_WIDTH or not 0 <= (precision or 0) <= MAX_WIDTH:
        raise Fault(f"printf: a width or precision is not between 0 and {MAX_WIDTH}")
    if "#" in flags and match["verb"] == "v":
        raise Fault("printf: the verb `%#v` is not supported; use `%v` or `toJson`")
    return Directive(match["verb"], flags, width, precision)


def _formatted(budget: Budget, directive: Directive, value: Value) -> str:
    budget.make(directive.width)
    if directive.verb == "T":
        directive, value = dataclasses.replace(directive, verb="s"), type_name(value)
    if isinstance(value, list | dict | Record):
        return _compound(budget, directive, value)
    text = _scalar(directive, value)
    if text is not None:
        return text
    as_value = dataclasses.replace(directive, verb="v")
    known = "<nil>" if value is None else f"{type_name(value)}={_scalar(as_value, value)}"
    return f"%!{directive.verb}({known})"


def _compound(budget: Budget, directive: Directive, value: Value) -> str:
    """Apply the verb to each thing in a list, map or struct."""
    if directive.verb == "v" and not directive.width and directive.precision is None:
        return to_text(budget, value, field_names="+" in directive.flags)
    budget.enter()
    writer = Writer(budget)
    if isinstance(value, list):
        opening, parts, closing = "[", [("", item) for item in value], "]"
    elif isinstance(value, Record):
        opening, parts, closing = "{", [("", item) for item in value.fields.values()], "}"
    else:
        parts = [(f"{_formatted(budget, directive, key)}:", item) for key, item in sorted_items(value)]
        opening, closing = "map[", "]"
    writer.write(opening)
    for index, (label, item) in enumerate(parts):
        budget.spend()
        writer.write((" " if index else "") + label)
        writer.write("<nil>" if item is None else _formatted(budget, directive, item))
    writer.write(closing)
    budget.leave()
    return writer.text()


def _scalar(directive: Directive, value: Value) -> str | None:
    """Format one value; None if the verb does not fit it."""
    verb = directive.verb
    if isinstance(value, float) and verb in "veEfFgG":
        return _float(directive, value)
    if isinstance(value, int) and not isinstance(value, bool) and (verb in BASES or verb in "vcqU"):
        return _integer(directive, value)
    if isinstance(value, str | datetime.datetime):
        return _string(directive, scalar_text(value) or "")
    if verb == "v" or (verb == "t" and isinstance(value, bool)):
        return _padded(scalar_text(value) or "", directive)
    return None


def _string(directive: Directive, text: str) -> str | None:
    text = text if directive.precision is None else text[: directive.precision]
    if directive.verb in "sv":
        return _padded(text, directive)
    if directive.verb == "q":
        raw = "#" in directive.flags and "`" not in text and text.replace("\t", "").isprintable()
        return _padded(f"`{text}`" if raw else quoted(text, ascii_only="+" in directive.flags), directive)
    if directive.verb in "xX":
        digits = _hexadecimal(text, directive.flags)
        return _padded(digits.upper() if directive.verb == "X" else digits, directive)
    return None


def _hexadecimal(text: str, flags: str) -> str:
    prefix = "0x" if "#" in flags and text else ""
    return prefix + (to_utf8(text).hex(" ").replace(" ", " " + prefix) if " " in flags else to_utf8(text).hex())


def _integer(directive: Directive, value: int) -> str:
    verb = directive.verb
    if verb in "cqU":
        known = 0 <= value <= 0x10FFFF and not 0xD800 <= value <= 0xDFFF
        character = chr(value) if known else "\ufffd"
        texts = {"c": character, "q": quoted(character, "'"), "U": f"U+{value:04X}"}
        return _padded(texts[verb], directive)
    digits = format(abs(value), BASES.get(verb, "d")).rjust(directive.precision or 0, "0")
    prefix = PREFIXES.get(verb, "") if "#" in directive.flags else ""
    return _signed("0o" + digits if verb == "O" else prefix + digits, value < 0, directive)


def _float(directive: Directive, value: float) -> str:
    verb, precision = directive.verb, directive.precision
    if (verb in "vgG" and precision is None) or not math.isfinite(value):
        text = numerals.for_print(value).lstrip("+-")
    else:
        text = format(abs(value), f".{6 if precision is None else precision}{'g' if verb == 'v' else verb}")
    return _signed(text.upper() if verb in "EG" else text, numerals.for_print(value).startswith("-"), directive)


def _signed(digits: str, negative: bool, directive: Directive) -> str:
    flags = directive.flags
    sign = "-" if negative else "+" if "+" in flags else " " if " " in flags else ""
    if "0" in flags and "-" not in flags and (directive.precision is None or "." in digits):
        return sign + digits.rjust(directive.width - len(sign), "0")
    return _padded(sign + digits, directive)


def _padded(text: str, directive: Directive) -> str:
    if "-" in directive.flags:
        return text.ljust(directive.width)
    return text.rjust(directive.width, "0" if "0" in directive.flags else " ")
