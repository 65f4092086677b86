"""What the text behind an option's colon may be: one reader per kind of value.

A reader gives the value, or raises `ValueError` with the end of a sentence that begins with the option.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

MIB = 1 << 20
WORDS = {
    **dict.fromkeys(("true", "1", "yes", "on", "enabled"), True),
    **dict.fromkeys(("false", "0", "no", "off", "disabled"), False),
}


class Kind(NamedTuple):
    """A kind of value: how it is read, and how the documentation calls it."""

    read: Callable[[str], Any]
    shown: str


def _flag(text: str) -> bool:
    if text.lower() not in WORDS:
        raise ValueError("is neither true nor false")
    return WORDS[text.lower()]


def _number(text: str, convert: type[int] | type[float], least: float | None, most: float | None) -> Any:
    try:
        value = convert(text)
    except ValueError:
        raise ValueError(f"is not a {'whole ' if convert is int else ''}number") from None
    if value != value or (least is not None and value < least):
        raise ValueError(f"is too small; give at least {least}")
    if most is not None and value > most:
        raise ValueError(f"is too large; give at most {most}")
    return value


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("/", ",").split(",") if part.strip())


def whole(least: int | None = None, most: int = 2**31 - 1) -> Kind:
    return Kind(lambda text: _number(text, int, least, most), "number")


def real(least: float | None = None, most: float | None = None) -> Kind:
    return Kind(lambda text: _number(text, float, least, most), "number")


def mebibytes(unlimited: bool = False) -> Kind:
    """Read a size in MiB as bytes; -1 for "no limit" gives None."""

    def read(text: str) -> int | None:
        value = _number(text, int, -1 if unlimited else 0, 2**31 - 1)
        return None if value < 0 else value * MIB

    return Kind(read, "MiB, -1: no limit" if unlimited else "MiB")


def word(*choices: str, **synonyms: str) -> Kind:
    """Read one of several words; `_` counts as `-`, and a synonym is read as the word that it stands for."""

    def read(text: str) -> str:
        low = text.lower().replace("_", "-")
        low = synonyms.get(low.replace("-", "_"), low)
        if low not in choices:
            raise ValueError(f"is none of: {', '.join(choices)}")
        return low

    return Kind(read, ", ".join(choices))


def words(*choices: str, **synonyms: str) -> Kind:
    """Read a list, separated by commas, of what `word` reads."""
    one = word(*choices, **synonyms)
    return Kind(lambda text: tuple(one.read(part) for part in _parts(text)), f"list of {one.shown}")


def only(value: bool, because: str) -> Kind:
    """Read a flag whose one value describes what this engine does anyway."""

    def read(text: str) -> bool:
        if _flag(text) is not value:
            raise ValueError(f"is not supported, as {because}; remove it")
        return value

    return Kind(read, str(value).lower())


FLAG = Kind(_flag, "true, false")
NAMES = Kind(lambda text: tuple(part.strip() for part in text.split(",") if part.strip()), "list")
SIZES = Kind(lambda text: tuple(_number(part, int, 0, 2**31 - 1) * MIB for part in _parts(text)), "list of MiB")
FILE = Kind(lambda text: Path(text), "file")

CACHE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""Types that a cache of keys or values may have, with their numbers in ggml.h."""


def cache_type(text: str) -> int:
    """Read the type of a cache; raise `ValueError` with the end of a sentence."""
    if text.lower() not in CACHE_TYPES:
        raise ValueError(f"is none of: {', '.join(CACHE_TYPES)}")
    return CACHE_TYPES[text.lower()]


UNQUANTIZED = [CACHE_TYPES[name] for name in ("f32", "f16", "bf16")]
CACHE_TYPE = Kind(cache_type, ", ".join(CACHE_TYPES))
