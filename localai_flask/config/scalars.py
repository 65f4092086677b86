"""One value against its declared type: the checks that YAML and requests share.

Each function gives the value in its type or raises `ValueError` with the rest of a sentence ("must be …") that begins
with the name of the field. The types are msgspec's descriptions of a struct's fields, with their ranges.
"""

from __future__ import annotations

import math
import re
from typing import Any

from msgspec.inspect import FloatType, IntType, StrType

# YAML 1.2 knows only true and false; LocalAI's reader also takes the old words where a boolean is wanted.
_WORDS = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}


def whole(value: Any, kind: IntType) -> int:
    """Take an integer; a fraction is cut off, as LocalAI does."""
    if not is_number(value):
        raise ValueError(f"must be a whole number, not {shown(value)}")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"must fit into 64 bits, not {shown(value)}")
    _check_range(int(value), kind)
    return int(value)


def number(value: Any, kind: FloatType) -> float:
    """Take a finite number."""
    if not is_number(value):
        raise ValueError(f"must be a number, not {shown(value)}")
    _check_range(value, kind)
    return float(value)


def flag(value: Any) -> bool:
    """Take true or false, or one of YAML's older words for them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise ValueError(f"must be true or false, not {shown(value)}")


def text(value: Any, kind: StrType) -> str:
    """Take text, or what was written without quotes: an integer, and true or false where these are among the words."""
    if isinstance(value, bool) and kind.pattern is not None and "true|false" in kind.pattern:
        value = str(value).lower()
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        advice = "" if isinstance(value, dict | list) else "; put it in quotes"
        raise ValueError(f"must be text, not {shown(value)}{advice}")
    if kind.pattern is not None and not re.search(kind.pattern, value):
        raise ValueError(f"must match {kind.pattern}, not {shown(value)}")
    return value


def shown(value: Any) -> str:
    """Show a value in a message, however long it is."""
    whole_value = repr(value)
    return whole_value if len(whole_value) <= 60 else whole_value[:57] + "..."


def is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _check_range(value: float, kind: IntType | FloatType) -> None:
    if kind.gt is not None and not value > kind.gt:
        raise ValueError(f"must be more than {kind.gt}, not {shown(value)}")
    low, high = kind.ge, kind.le
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"must be between {low} and {high}, not {shown(value)}")
    if low is not None and value < low:
        raise ValueError(f"must be at least {low}, not {shown(value)}")
    if high is not None and value > high:
        raise ValueError(f"must be at most {high}, not {shown(value)}")
