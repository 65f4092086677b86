"""sprig's functions on strings: trimming, cutting, joining, quoting. Positions count bytes of UTF-8, as in Go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localai_flask.gotemplate.budget import Budget, Writer
from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.text.printing import quoted, to_text
from localai_flask.gotemplate.values import Value, from_utf8, to_utf8

GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def trim(text: str) -> str:
    return text.strip(GO_SPACE)


def trim_all(budget: Budget, characters: str, text: str) -> str:
    if not characters:
        return text
    unique = "".join(set(characters))
    budget.spend(len(unique) * len(text) // 1024)  # each character may be compared with all of these
    return text.strip(unique)


def trim_suffix(suffix: str, text: str) -> str:
    return text.removesuffix(suffix)


def trim_prefix(prefix: str, text: str) -> str:
    return text.removeprefix(prefix)


def nospace(text: str) -> str:
    return text.translate(dict.fromkeys(map(ord, GO_SPACE)))


def repeat(budget: Budget, count: int, text: str) -> str:
    if count < 0:
        raise Fault("repeat: the count is negative")
    budget.make(count * len(text))
    return text * count


def substr(start: int, end: int, text: str) -> str:
    data = to_utf8(text)
    if start < 0:
        start = 0
    elif end < 0 or end > len(data):
        end = len(data)
    if not 0 <= start <= end <= len(data):
        raise Fault(f"substr: {start} to {end} is not inside of a string of {len(data)} bytes")
    return from_utf8(data[start:end])


def trunc(length: int, text: str) -> str:
    data = to_utf8(text)
    if length < 0:
        return from_utf8(data[length:] if len(data) + length > 0 else data)
    return from_utf8(data[:length])


def abbrev(width: int, text: str) -> str:
    return abbrevboth(0, width, text)


def abbrevboth(left: int, width: int, text: str) -> str:
    """Shorten to `width` bytes, leaving out some at the start too if `left` says where the interesting part begins."""
    data = to_utf8(text)
    if width < 4 or (left > 0 and width < 7) or len(data) <= width:
        return text
    start = max(0, min(left, len(data) - (width - 3)))
    if start <= 4:
        return from_utf8(data[: width - 3] + b"...")
    if start + width - 3 < len(data):
        return from_utf8(b"..." + data[start : start + width - 6] + b"...")
    return from_utf8(b"..." + data[len(data) - (width - 3) :])


def contains(part: str, text: str) -> bool:
    return part in text


def has_prefix(prefix: str, text: str) -> bool:
    return text.startswith(prefix)


def has_suffix(suffix: str, text: str) -> bool:
    return text.endswith(suffix)


def quote(budget: Budget, *values: Any) -> str:
    return _spaced(budget, (quoted(to_text(budget, value)) for value in values if value is not None))


def squote(budget: Budget, *values: Any) -> str:
    return _spaced(budget, (f"'{to_text(budget, value)}'" for value in values if value is not None))


def cat(budget: Budget, *values: Any) -> str:
    return _spaced(budget, (to_text(budget, value) for value in values if value is not None))


def _spaced(budget: Budget, texts: Any) -> str:
    writer = Writer(budget)
    for index, text in enumerate(texts):
        writer.write(f" {text}" if index else text)
    return writer.text()


def indent(budget: Budget, width: int, text: str) -> str:
    if width < 0:
        raise Fault("indent: the width is negative")
    budget.make(len(text) + width * (text.count("\n") + 1))
    pad = " " * width
    return pad + text.replace("\n", "\n" + pad)


def nindent(budget: Budget, width: int, text: str) -> str:
    return "\n" + indent(budget, width, text)


def replace(budget: Budget, old: str, new: str, text: str) -> str:
    budget.make(len(text) + text.count(old) * max(0, len(new) - len(old)))
    return text.replace(old, new)


def plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def wrap(budget: Budget, width: int, text: str) -> str:
    return _wrapped(budget, text, max(1, width), "\n", cuts_words=False)


def wrap_with(budget: Budget, width: int, separator: str, text: str) -> str:
    return _wrapped(budget, text, max(1, width), separator or "\n", cuts_words=True)


def _wrapped(budget: Budget, text: str, width: int, separator: str, cuts_words: bool) -> str:
    """Break lines at spaces, each at most `width` bytes long; a longer word is cut, or has a longer line to itself."""
    rest, writer = to_utf8(text), Writer(budget)
    start = 0
    while len(rest) - start > width:
        budget.spend()
        if rest[start : start + 1] == b" ":
            start += 1
            continue
        space = rest.rfind(b" ", start, start + width + 1)
        if space < 0 and cuts_words:
            end, following = start + width, start + width
        else:
            space = rest.find(b" ", start + width) if space < 0 else space
            if space < 0:
                break
            end, following = space, space + 1
        writer.write(from_utf8(rest[start:end]) + separator)
        start = following
    writer.write(from_utf8(rest[start:]))
    return writer.text()


def join(budget: Budget, separator: str, values: Any) -> str:
    writer = Writer(budget)
    for index, text in enumerate(to_strings(budget, values)):
        writer.write(separator + text if index else text)
    return writer.text()


def to_strings(budget: Budget, values: Any) -> list[Value]:
    if values is None:
        return []
    items = values if isinstance(values, list) else [values]
    budget.spend(len(items))
    return [to_text(budget, item) for item in items if item is not None]


def sort_alpha(budget: Budget, values: Any) -> list[Value]:
    return sorted(to_strings(budget, values), key=to_utf8)


def to_string(budget: Budget, value: Any) -> str:
    return to_text(budget, value)


def split_list(budget: Budget, separator: str, text: str) -> list[Value]:
    return _parts(budget, separator, text, -1)


def split(budget: Budget, separator: str, text: str) -> dict[str, Value]:
    return {f"_{index}": part for index, part in enumerate(_parts(budget, separator, text, -1))}


def splitn(budget: Budget, separator: str, count: int, text: str) -> dict[str, Value]:
    return {f"_{index}": part for index, part in enumerate(_parts(budget, separator, text, count))}


def _parts(budget: Budget, separator: str, text: str, count: int) -> list[Value]:
    if count == 0:
        return []
    budget.spend(text.count(separator) + 1)
    if separator:
        return list(text.split(separator, count - 1 if count > 0 else -1))
    if count < 0 or count >= len(text):
        return list(text)
    return [*text[: count - 1], text[count - 1 :]]


def hello() -> str:
    return "Hello!"


def fail(message: str) -> str:
    raise Fault(message)


TABLE: dict[str, Callable[..., Value]] = {
    "trim": trim,
    "trimAll": trim_all,
    "trimall": trim_all,
    "trimSuffix": trim_suffix,
    "trimPrefix": trim_prefix,
    "nospace": nospace,
    "repeat": repeat,
    "substr": substr,
    "trunc": trunc,
    "abbrev": abbrev,
    "abbrevboth": abbrevboth,
    "contains": contains,
    "hasPrefix": has_prefix,
    "hasSuffix": has_suffix,
    "quote": quote,
    "squote": squote,
    "cat": cat,
    "indent": indent,
    "nindent": nindent,
    "replace": replace,
    "plural": plural,
    "wrap": wrap,
    "wrapWith": wrap_with,
    "join": join,
    "toStrings": to_strings,
    "toString": to_string,
    "sortAlpha": sort_alpha,
    "splitList": split_list,
    "split": split,
    "splitn": splitn,
    "hello": hello,
    "fail": fail,
}
