"""sprig's arithmetic: 64-bit integers that wrap around, and decimal sums of floats."""

from __future__ import annotations

import decimal
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.text import literals
from localai_flask.gotemplate.text.printing import scalar_text
from localai_flask.gotemplate.values import INT64_MAX, INT64_MIN, Value, wrap64

PRECISION = decimal.Context(prec=700, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
"""Enough digits to add any two floats exactly."""

DIVISION_PLACES = Decimal("1e-16")
FLOAT = re.compile(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,9})?\Z", re.ASCII)
ZERO_DECIMALS = re.compile(r"\.0+\Z")


def to_int(value: Any) -> int:
    """Convert as sprig does: what is no number is 0, and floats lose their fraction."""
    if isinstance(value, str):
        try:
            number = literals.number(ZERO_DECIMALS.sub("", value))
        except Fault:
            return 0
        return number if isinstance(number, int) else 0
    if isinstance(value, float):
        # What does not fit becomes the lowest number, as on the processors that Go mostly runs on.
        return int(value) if -(2.0**63) <= value < 2.0**63 else INT64_MIN
    return int(value) if isinstance(value, int) else 0


def to_float(value: Any) -> float:
    """Convert as sprig does: what is no number is 0."""
    if isinstance(value, str):
        return float(value) if FLOAT.match(value) else 0.0
    return float(value) if isinstance(value, int | float) else 0.0


def atoi(text: str) -> int:
    value = int(text) if re.fullmatch(r"[+-]?\d{1,25}", text, re.ASCII) else 0
    return min(max(value, INT64_MIN), INT64_MAX)


def from_octal(value: Any) -> int:
    text = scalar_text(value) or ""
    number = int(text, 8) if re.fullmatch(r"[+-]?[0-7]{1,22}", text, re.ASCII) else 0
    return number if INT64_MIN <= number <= INT64_MAX else 0


def add(*values: Any) -> int:
    return wrap64(sum(map(to_int, values)))


def add1(value: Any) -> int:
    return wrap64(to_int(value) + 1)


def sub(left: Any, right: Any) -> int:
    return wrap64(to_int(left) - to_int(right))


def mul(first: Any, *others: Any) -> int:
    product = to_int(first)
    for other in others:
        product = wrap64(product * to_int(other))
    return product


def div(left: Any, right: Any) -> int:
    dividend, divisor = to_int(left), _divisor(to_int(right))
    quotient = abs(dividend) // abs(divisor)
    return wrap64(quotient if (dividend < 0) == (divisor < 0) else -quotient)


def mod(left: Any, right: Any) -> int:
    dividend, divisor = to_int(left), _divisor(to_int(right))
    return int(math.copysign(1, dividend)) * (abs(dividend) % abs(divisor))


def _divisor(value: int) -> int:
    if value == 0:
        raise Fault("a number is divided by zero")
    return value


def max_(first: Any, *others: Any) -> int:
    return max(map(to_int, (first, *others)))


def min_(first: Any, *others: Any) -> int:
    return min(map(to_int, (first, *others)))


def maxf(first: Any, *others: Any) -> float:
    return max(map(to_float, (first, *others)))


def minf(first: Any, *others: Any) -> float:
    return min(map(to_float, (first, *others)))


def addf(*values: Any) -> float:
    return _decimal(PRECISION.add, 0.0, *values)


def add1f(value: Any) -> float:
    return _decimal(PRECISION.add, value, 1)


def subf(first: Any, *others: Any) -> float:
    return _decimal(PRECISION.subtract, first, *others)


def mulf(first: Any, *others: Any) -> float:
    return _decimal(PRECISION.multiply, first, *others)


def divf(first: Any, *others: Any) -> float:
    return _decimal(_divide, first, *others)


def _divide(left: Decimal, right: Decimal) -> Decimal:
    if right == 0:
        raise Fault("a number is divided by zero")
    quotient = PRECISION.divide(left, right)
    return quotient.quantize(DIVISION_PLACES, decimal.ROUND_HALF_UP, PRECISION)


def _decimal(operation: Callable[[Decimal, Decimal], Decimal], first: Value, *others: Value) -> float:
    result, *rest = [Decimal(repr(to_float(value))) for value in (first, *others)]
    for number in rest:
        if not (result.is_finite() and number.is_finite()):
            raise Fault("a sum has a number in it that is not finite")
        try:
            result = operation(result, number)
        except decimal.DecimalException as error:
            raise Fault("a sum of floats goes beyond what can be written") from error
    return float(result)


def ceil(value: Any) -> float:
    return _whole(math.ceil, to_float(value))


def floor(value: Any) -> float:
    return _whole(math.floor, to_float(value))


def _whole(operation: Callable[[float], int], value: float) -> float:
    return float(operation(value)) if math.isfinite(value) else value


def round_(value: Any, places: int, *turning_point: float) -> float:
    """Round up from the turning point (0.5) on."""
    if not -300 <= places <= 300:
        raise Fault("round: the number of places must be between -300 and 300")
    power = 10.0**places
    scaled = power * to_float(value)
    if not math.isfinite(scaled):
        return to_float(value)
    goes_up = math.fmod(scaled, 1) >= (turning_point[0] if turning_point else 0.5)
    return _whole(math.ceil if goes_up else math.floor, scaled) / power


TABLE: dict[str, Callable[..., Value]] = {
    "int": to_int,
    "int64": to_int,
    "float64": to_float,
    "atoi": atoi,
    "toDecimal": from_octal,
    "add": add,
    "add1": add1,
    "sub": sub,
    "mul": mul,
    "div": div,
    "mod": mod,
    "max": max_,
    "biggest": max_,
    "min": min_,
    "maxf": maxf,
    "minf": minf,
    "addf": addf,
    "add1f": add1f,
    "subf": subf,
    "mulf": mulf,
    "divf": divf,
    "ceil": ceil,
    "floor": floor,
    "round": round_,
}
