"""The parsed form of a template: frozen nodes, each knowing its line where it can fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localai_flask.gotemplate.functions.function import Function


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`"""


@dataclass(frozen=True, slots=True)
class Constant:
    """A string, number, boolean or `nil` as written."""

    value: Any


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`; the root data is `$`."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function by its name; its arguments are the rest of the command."""

    function: Function


@dataclass(frozen=True, slots=True)
class Chain:
    """Fields of something: `.a.b`, `$x.a`, `(pipeline).a`."""

    base: Operand
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """An operand, or a function, with its arguments."""

    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """`$a, $b := command | command`; `assigns` tells `=` from `:=`."""

    line: int
    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    assigns: bool = False


Operand = Dot | Constant | Variable | Call | Chain | Pipe


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose value is printed, unless it only sets variables."""

    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Arm:
    pipe: Pipe
    body: Body


@dataclass(frozen=True, slots=True)
class Branch:
    """`if` or `with` (`moves_dot`), with all their `else if` or `else with`."""

    arms: tuple[Arm, ...]
    otherwise: Body
    moves_dot: bool


@dataclass(frozen=True, slots=True)
class Range:
    pipe: Pipe
    body: Body
    otherwise: Body


@dataclass(frozen=True, slots=True)
class Invoke:
    """`{{template "name" pipeline}}`"""

    line: int
    name: str
    pipe: Pipe | None


@dataclass(frozen=True, slots=True)
class Break:
    pass


@dataclass(frozen=True, slots=True)
class Continue:
    pass


Node = Text | Action | Branch | Range | Invoke | Break | Continue
Body = tuple[Node, ...]
