"""Grammars in Lark's notation, as llguidance reads it: expressions, rules, and the one place that writes their text.

A name in capitals is a terminal: a regular language that is read in one go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from localai_flask.generation import Constraint


@dataclass(frozen=True, slots=True)
class Literal:
    """A text as it stands."""

    text: str


@dataclass(frozen=True, slots=True)
class Regex:
    """What a regular expression matches."""

    source: str


@dataclass(frozen=True, slots=True)
class Name:
    """A rule or a terminal."""

    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """A constraint of its own, such as a JSON Schema."""

    name: str


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """An expression `least` to `most` times (None: without a limit)."""

    item: Expression
    least: int = 0
    most: int | None = None


Expression = Literal | Regex | Name | Part | Sequence | Choice | Repeat
EMPTY = Literal("")


def sequence(*items: Expression) -> Expression:
    """Join expressions; sequences among them become parts of this one."""
    flat = tuple(each for item in items for each in (item.items if isinstance(item, Sequence) else (item,)))
    return flat[0] if len(flat) == 1 else Sequence(flat)


def choice(items: Iterable[Expression]) -> Expression:
    listed = tuple(items)
    return listed[0] if len(listed) == 1 else Choice(listed)


def optional(item: Expression) -> Expression:
    return Repeat(item, 0, 1)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a name stands for; one that `is_lazy` ends as early as it can."""

    expression: Expression
    is_lazy: bool = False


class Grammar:
    """Rules by name, and the constraints that they name as parts."""

    def __init__(self, shared: Mapping[str, Rule]):
        self._rules = dict(shared)
        self.parts: dict[str, Constraint] = {}

    def define(self, name: str, expression: Expression, *, is_lazy: bool = False) -> Name:
        self._rules[name] = Rule(expression, is_lazy)
        return Name(name)

    def add_part(self, name: str, part: Constraint) -> Part:
        self.parts[name] = part
        return Part(name)

    def constraint(
        self, start: Expression, param: str, *, trigger: str | None = None, is_final: bool = False
    ) -> Constraint:
        """Return the constraint to what `start` stands for, with the rules and the parts that it needs."""
        rules = {"start": Rule(start)}
        pending = [start]
        parts = set()
        while pending:
            for each in _mentioned(pending.pop()):
                if isinstance(each, Part):
                    parts.add(each.name)
                elif each.name not in rules:
                    rules[each.name] = self._rules[each.name]
                    pending.append(rules[each.name].expression)
        text = "\n".join(_written_rule(name, rule) for name, rule in rules.items())
        needed = {name: part for name, part in self.parts.items() if name in parts}
        return Constraint("lark", text, param, trigger, needed, is_final=is_final)


def _mentioned(expression: Expression) -> Iterator[Name | Part]:
    match expression:
        case Name() | Part():
            yield expression
        case Sequence(items) | Choice(items):
            for item in items:
                yield from _mentioned(item)
        case Repeat(item):
            yield from _mentioned(item)


def _written_rule(name: str, rule: Rule) -> str:
    return f"{name}{'[lazy]' if rule.is_lazy else ''}: {written(rule.expression)}"


def written(expression: Expression) -> str:
    """Return the text of an expression."""
    match expression:
        case Literal(text):
            return json.dumps(text, ensure_ascii=False)
        case Regex(source):
            return "/" + _BARE_SLASH.sub(r"\1\\/", source) + "/"
        case Name(name):
            return name
        case Part(name):
            return f"@{name}"
        case Sequence(items):
            return " ".join(f"({written(item)})" if isinstance(item, Choice) else written(item) for item in items)
        case Choice(items):
            return " | ".join(map(written, items))
        case Repeat(item, least, most):
            inner = written(item)
            return (f"({inner})" if isinstance(item, Sequence | Choice | Repeat) else inner) + _times(least, most)


_BARE_SLASH = re.compile(r"(?<!\\)((?:\\\\)*)/")


def _times(least: int, most: int | None) -> str:
    match least, most:
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case 0, 1:
            return "?"
    return f"{{{least},{'' if most is None else most}}}"
