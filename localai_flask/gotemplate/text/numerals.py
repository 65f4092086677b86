"""Floats as Go writes them."""

from __future__ import annotations

import math
from decimal import Decimal


def shortest(value: float, low: int, high: int) -> str:
    """Write the fewest digits that read back as the same float; with an exponent below 10**low or from 10**high on."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    _, digits, tail = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(tail, int)
    text, exponent = "".join(map(str, digits)), len(digits) + tail - 1
    minus = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return f"{minus}0"
    if exponent < low or exponent >= high:
        mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
        return f"{minus}{mantissa}e{exponent:+03d}"
    return f"{minus}{Decimal((0, digits, tail)):f}"


def for_print(value: float) -> str:
    """Write a float as `%v` does."""
    return shortest(value, -4, 6)


def for_json(value: float) -> str:
    """Write a float as `encoding/json` does."""
    return shortest(value, -6, 21).replace("e-0", "e-")
