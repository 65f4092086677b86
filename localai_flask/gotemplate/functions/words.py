"""sprig's functions on the case of letters and on words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from localai_flask.gotemplate.functions.strings import GO_SPACE
from localai_flask.gotemplate.values import Value

SPACES = re.escape(GO_SPACE)
WORD_START = re.compile(f"[^{SPACES}]+")
TITLE_START = re.compile(r"(?<!\w)\w")
CONNECTED = re.compile(rf"([-_{SPACES}]+)([^-_{SPACES}]?)|([^-_{SPACES}])")
# A word of an identifier, over the classes of its characters: (U)pper, (a)ny other letter, digit (0), connector (-),
# punctuation (.), other (o). Digits belong to the small letters after them, or else to the word before.
IDENTIFIER_WORD = re.compile(
    r"""
      (?P<connector>-+)
    | (?P<punctuation>\.+)
    | 0+(?:a[a0]*)?
    | (?: U+(?=Ua) | U?a+ | U+ ) (?:0+(?![a0]))?
    | o+
    """,
    re.VERBOSE,
)


def _upper(character: str) -> str:
    # Go maps one character to one; those that Python maps to several stay.
    changed = character.upper()
    return changed if len(changed) == 1 else character


def _lower(character: str) -> str:
    return character.lower()[0]


def upper(text: str) -> str:
    return text.upper() if text.isascii() else "".join(map(_upper, text))


def lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(map(_lower, text))


def title(text: str) -> str:
    return TITLE_START.sub(lambda match: _upper(match.group()), text)


def untitle(text: str) -> str:
    return WORD_START.sub(lambda match: _lower(match.group()[0]) + match.group()[1:], text)


def initials(text: str) -> str:
    return "".join(word[0] for word in WORD_START.findall(text))


def swapcase(text: str) -> str:
    return "".join(_lower(letter) if letter.isupper() else _upper(letter) for letter in text)


def camelcase(text: str) -> str:
    body = text.lstrip("-_" + GO_SPACE)
    if not body:
        return text

    def replace(match: re.Match[str]) -> str:
        connectors, after, plain = match.groups()
        if plain:
            return _lower(plain)
        return connectors[:-1] + _upper(after) if after else connectors

    return text[: len(text) - len(body)] + _upper(body[0]) + CONNECTED.sub(replace, body[1:])


def snakecase(text: str) -> str:
    return _connected(text, "_")


def kebabcase(text: str) -> str:
    return _connected(text, "-")


def _connected(text: str, connector: str) -> str:
    pieces: list[str] = []
    is_word_before = False
    for match in IDENTIFIER_WORD.finditer("".join(map(_class, text))):
        part = text[match.start() : match.end()]
        if match["connector"] is not None:
            pieces.append(connector * len(part))
        elif match["punctuation"] is not None:
            pieces.append(part)
        else:
            pieces.append((connector if is_word_before else "") + lower(part))
        is_word_before = match.lastgroup is None
    return "".join(pieces)


def _class(character: str) -> str:
    if character in "-_" or character in GO_SPACE:
        return "-"
    if character.isupper():
        return "U"
    if character.isalpha():
        return "a"
    if character.isdigit():
        return "0"
    return "." if unicodedata.category(character)[0] == "P" else "o"


TABLE: dict[str, Callable[..., Value]] = {
    "upper": upper,
    "lower": lower,
    "title": title,
    "untitle": untitle,
    "initials": initials,
    "swapcase": swapcase,
    "camelcase": camelcase,
    "snakecase": snakecase,
    "kebabcase": kebabcase,
}
