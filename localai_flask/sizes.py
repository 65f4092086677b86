"""Sizes and durations as people write them: `12GB`, `80%`, `10m`."""

from __future__ import annotations

import math
import re

BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(ms|[smhd])")


def parse_bytes(text: str) -> int:
    """Read a number of bytes, or with a unit (`512MB`, `12GiB`), of which each is 1024 of the one below.

    Raises `ValueError` with what to write.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("write bytes, or a number with a unit as in 512MB or 12GB")
    return int(float(found[1]) * BYTES[found[2].lower()])


def parse_share(text: str) -> float | None:
    """Read a percentage as a fraction; None if it is none. Raises `ValueError` if it is not between 0 and 100."""
    digits, percent, rest = text.strip().partition("%")
    if not percent or rest:
        return None
    try:
        share = float(digits) / 100
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError("write a percentage between 0% and 100%")
    return share


def check_budget(text: str) -> None:
    """Raise `ValueError` with what to write for a size or a share of the machine's memory."""
    if parse_share(text) is None:
        parse_bytes(text)


def parse_duration(value: object) -> float:
    """Read seconds, as a number or with units (`90`, `"10m"`, `"1h30m"`); below zero means for ever, and gives -1.

    Raises `ValueError` with the rest of a sentence that begins with a field's name.
    """
    seconds = read_seconds(value)
    if seconds is None or not math.isfinite(seconds):
        raise ValueError('must be seconds or a duration like "10m"; -1 keeps the model for ever, 0 not at all')
    return seconds if seconds >= 0 else -1.0


def read_seconds(value: object) -> float | None:
    """Read a number of seconds, or a duration with units; None if it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    sign, text = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    try:
        return sign * float(text)
    except ValueError:
        pass
    if not text or _PART.sub("", text):
        return None
    return sign * sum(float(number) * SECONDS[unit] for number, unit in _PART.findall(text))
