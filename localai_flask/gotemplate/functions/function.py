"""A function that templates may call: its Python code, and the types of its arguments, read off the annotations."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from localai_flask.gotemplate.budget import Budget
from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.values import Value, is_whole, type_name

WORDS = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a map",
}


@dataclass(frozen=True, slots=True)
class Function:
    """`kinds` are the types of the positional arguments, `rest` that of any further ones (None: there may be none)."""

    name: str
    code: Callable[..., Value]
    wants_budget: bool
    kinds: tuple[type, ...]
    rest: type | None

    @classmethod
    def of(cls, name: str, code: Callable[..., Value]) -> Function:
        """Describe a Python function; an argument `budget` is filled in by the caller."""
        hints = typing.get_type_hints(code)
        parameters = list(inspect.signature(code).parameters.values())
        wants_budget = bool(parameters) and parameters[0].name == "budget"
        rest = None
        kinds = []
        for parameter in parameters[wants_budget:]:
            kind = hints[parameter.name]
            kind = object if kind is Any else typing.get_origin(kind) or kind
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                rest = kind
            else:
                kinds.append(kind)
        return cls(name, code, wants_budget, tuple(kinds), rest)

    def __call__(self, budget: Budget, arguments: Sequence[Value]) -> Value:
        """Call it with checked arguments; raises `Fault` if one does not fit, or if the function does."""
        self._check_count(len(arguments))
        values = []
        for index, value in enumerate(arguments):
            kind = self.kinds[index] if index < len(self.kinds) else self.rest
            values.append(value if kind is object or type(value) is kind else self._fitting(value, kind, index))
            if type(value) is str:
                budget.make(len(value))
        result = self.code(budget, *values) if self.wants_budget else self.code(*values)
        if type(result) is str:
            budget.make(len(result))
        return result

    def _check_count(self, count: int) -> None:
        wanted = len(self.kinds)
        if count < wanted or (count > wanted and self.rest is None):
            least = "at least " if self.rest is not None else ""
            raise Fault(f"{self.name} takes {least}{wanted} argument{'s' * (wanted != 1)}, and got {count}")

    def _fitting(self, value: Value, kind: type | None, index: int) -> Value:
        # JSON does not tell whole floats from integers, so neither do we.
        if kind is float and type(value) is int:
            return float(value)
        if kind is int and type(value) is float and is_whole(value):
            return int(value)
        wanted = WORDS[kind] if kind in WORDS else str(kind)
        raise Fault(f"argument {index + 1} of {self.name} must be {wanted}, not {type_name(value)}")
