"""sprig's functions on lists. A list is never changed: each function that seems to makes a new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localai_flask.gotemplate.budget import Budget
from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.values import Value, equal, truth


def list_(budget: Budget, *values: Any) -> list[Value]:
    budget.spend(len(values))
    return list(values)


def first(values: list) -> Value:
    return values[0] if values else None


def last(values: list) -> Value:
    return values[-1] if values else None


def rest(budget: Budget, values: list) -> list[Value]:
    budget.spend(len(values))
    return values[1:]


def initial(budget: Budget, values: list) -> list[Value]:
    budget.spend(len(values))
    return values[:-1]


def append(budget: Budget, values: list, value: Any) -> list[Value]:
    budget.spend(len(values))
    return [*values, value]


def prepend(budget: Budget, values: list, value: Any) -> list[Value]:
    budget.spend(len(values))
    return [value, *values]


def concat(budget: Budget, *lists: list) -> list[Value]:
    budget.spend(sum(map(len, lists)))
    return [value for values in lists for value in values]


def reverse(budget: Budget, values: list) -> list[Value]:
    budget.spend(len(values))
    return values[::-1]


def compact(budget: Budget, values: list) -> list[Value]:
    budget.spend(len(values))
    return [value for value in values if truth(value)]


def uniq(budget: Budget, values: list) -> list[Value]:
    kept: list[Value] = []
    for value in values:
        if not has(budget, value, kept):
            kept.append(value)
    return kept


def without(budget: Budget, values: list, *unwanted: Any) -> list[Value]:
    return [value for value in values if not has(budget, value, list(unwanted))]


def has(budget: Budget, value: Any, values: Any) -> bool:
    if values is None:
        return False
    if not isinstance(values, list):
        raise Fault("has looks for a value in a list: `has value list`")
    return any(equal(budget, value, other) for other in values)


def chunk(budget: Budget, size: int, values: list) -> list[Value]:
    if size < 1:
        raise Fault("chunk: the size must be at least 1")
    budget.spend(len(values))
    return [values[start : start + size] for start in range(0, len(values), size)]


def until(budget: Budget, count: int) -> list[Value]:
    return until_step(budget, 0, count, 1 if count >= 0 else -1)


def until_step(budget: Budget, start: int, stop: int, step: int) -> list[Value]:
    if step == 0:
        return []
    numbers = range(start, stop, step)
    # len() refuses ranges beyond a machine word, which are too long in any case.
    budget.spend(len(numbers) if abs(stop - start) < 2**62 else 2**62)
    return list(numbers)


def seq(budget: Budget, *numbers: int) -> str:
    """Count like the command of the same name: to an end, from a start, in steps; both ends are included."""
    if not 1 <= len(numbers) <= 3:
        return ""
    start = numbers[0] if len(numbers) > 1 else 1
    stop = numbers[-1]
    direction = 1 if stop >= start else -1
    step = numbers[1] if len(numbers) == 3 else direction
    if step * direction <= 0:
        return ""
    return " ".join(map(str, until_step(budget, start, stop + direction, step)))


PLAIN: dict[str, Callable[..., Value]] = {
    "first": first,
    "last": last,
    "rest": rest,
    "initial": initial,
    "append": append,
    "push": append,
    "prepend": prepend,
    "reverse": reverse,
    "compact": compact,
    "uniq": uniq,
    "without": without,
    "has": has,
    "chunk": chunk,
}
TABLE: dict[str, Callable[..., Value]] = {
    **PLAIN,
    **{f"must{name[0].upper()}{name[1:]}": code for name, code in PLAIN.items()},
    "list": list_,
    "tuple": list_,
    "concat": concat,
    "until": until,
    "untilStep": until_step,
    "seq": seq,
}
