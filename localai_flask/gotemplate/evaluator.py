"""Execution of a parsed template: one `Run` for each rendering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

from localai_flask.gotemplate import nodes
from localai_flask.gotemplate.budget import Budget, Writer
from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.text.printing import to_text
from localai_flask.gotemplate.values import Record, Value, sorted_items, truth, type_name


class Sign(Enum):
    """What a value cannot say: that there is none, or that a loop ends here."""

    MISSING = "no value"
    BREAK = "break"
    CONTINUE = "continue"

    def __bool__(self) -> bool:
        return False


# A field of something missing is missing too, while a field of a nil that is there is an error.
MISSING: Final = Sign.MISSING


class Run:
    """The state of one rendering: output, variables in scope, and the line that is being executed."""

    def __init__(self, templates: Mapping[str, nodes.Body], budget: Budget):
        self.templates, self.budget = templates, budget
        self.output = Writer(budget)
        self.variables: list[tuple[str, Value]] = []
        self.line = 1

    def invoke(self, name: str, dot: Value) -> None:
        """Render a template by its name; raises `Fault`."""
        if name not in self.templates:
            raise Fault(f"the template {name!r} is not defined")
        outer, self.variables = self.variables, [("$", dot)]
        self._body(self.templates[name], dot)
        self.variables = outer

    # Blocks

    def _body(self, body: nodes.Body, dot: Value) -> Sign | None:
        self.budget.enter()
        sign = None
        for node in body:
            self.budget.spend()
            sign = self._node(node, dot)
            if sign is not None:
                break
        self.budget.leave()
        return sign

    def _node(self, node: nodes.Node, dot: Value) -> Sign | None:
        match node:
            case nodes.Text():
                self.output.write(node.text)
            case nodes.Action():
                value = self._pipe(node.pipe, dot)
                if not node.pipe.variables:
                    self.output.write("<no value>" if value is MISSING else to_text(self.budget, value))
            case nodes.Branch():
                return self._branch(node, dot)
            case nodes.Range():
                return self._range(node, dot)
            case nodes.Invoke():
                data = MISSING if node.pipe is None else self._pipe(node.pipe, dot)
                self.line = node.line
                self.invoke(node.name, data)
            case nodes.Break():
                return Sign.BREAK
            case nodes.Continue():
                return Sign.CONTINUE
        return None

    def _branch(self, branch: nodes.Branch, dot: Value) -> Sign | None:
        scope = len(self.variables)
        body, inner = branch.otherwise, dot
        for arm in branch.arms:
            value = self._pipe(arm.pipe, dot)
            if truth(value):
                body, inner = arm.body, value if branch.moves_dot else dot
                break
        sign = self._body(body, inner)
        del self.variables[scope:]
        return sign

    def _range(self, node: nodes.Range, dot: Value) -> Sign | None:
        scope = len(self.variables)
        names = node.pipe.variables
        is_empty = True
        for key, item in self._items(self._commands(node.pipe, dot), len(names)):
            is_empty = False
            self.budget.spend()
            for name, part in zip(names, (key, item) if len(names) == 2 else (item,), strict=False):
                self._set(name, part, node.pipe.assigns)
            sign = self._body(node.body, item)
            del self.variables[scope:]
            if sign is Sign.BREAK:
                break
        if not is_empty:
            return None
        sign = self._body(node.otherwise, dot)
        del self.variables[scope:]
        # Go counts `else` as a part of this loop for `break`, but not for `continue`.
        return None if sign is Sign.BREAK else sign

    def _items(self, value: Value, names: int) -> Iterable[tuple[Value, Value]]:
        if value is None or value is MISSING:
            return ()
        if type(value) is list:
            return enumerate(value)
        if type(value) is dict:
            self.budget.spend(len(value))
            return list(sorted_items(value))
        if type(value) is int and names < 2:
            return ((index, index) for index in range(value))
        raise Fault(f"range cannot go over a value of type {type_name(value)}{' with two variables' * (names > 1)}")

    # Pipelines

    def _pipe(self, pipe: nodes.Pipe, dot: Value) -> Value:
        value = self._commands(pipe, dot)
        for name in pipe.variables:
            self._set(name, value, pipe.assigns)
        return value

    def _commands(self, pipe: nodes.Pipe, dot: Value) -> Value:
        self.budget.enter()
        self.line = pipe.line
        value: Value = None
        for index, command in enumerate(pipe.commands):
            value = self._command(command, dot, (value,) if index else ())
            value = MISSING if value is None else value
        self.budget.leave()
        return value

    def _command(self, command: nodes.Command, dot: Value, piped: Sequence[Value]) -> Value:
        self.budget.spend()
        first, *rest = command.operands
        if not isinstance(first, nodes.Call):
            if rest or piped:
                raise Fault("what is no function takes no arguments")
            return self._operand(first, dot)
        if first.function.name in ("and", "or"):
            return self._shortcut(first.function.name, rest, dot, piped)
        arguments = [self._operand(operand, dot) for operand in rest]
        return self._call(first, (*arguments, *piped))

    def _call(self, call: nodes.Call, arguments: Iterable[Value]) -> Value:
        return call.function(self.budget, [None if value is MISSING else value for value in arguments])

    def _shortcut(self, name: str, operands: Sequence[nodes.Operand], dot: Value, piped: Sequence[Value]) -> Value:
        """The first argument that decides, or else the last; those after it are not evaluated."""
        value: Value = MISSING
        for operand in operands:
            value = self._operand(operand, dot)
            if truth(value) is (name == "or"):
                return value
        if not operands and not piped:
            raise Fault(f"{name} takes at least 1 argument, and got 0")
        return piped[0] if piped else value

    def _operand(self, operand: nodes.Operand, dot: Value) -> Value:
        self.budget.spend()
        match operand:
            case nodes.Constant():
                return operand.value
            case nodes.Dot():
                return dot
            case nodes.Variable():
                return self._variable(operand.name)
            case nodes.Chain():
                value = self._operand(operand.base, dot)
                for field in operand.fields:
                    value = _field(value, field)
                return value
            case nodes.Call():
                return self._call(operand, ())
            case nodes.Pipe():
                return self._inner_pipe(operand, dot)

    def _inner_pipe(self, pipe: nodes.Pipe, dot: Value) -> Value:
        outer_line = self.line
        value = self._pipe(pipe, dot)
        self.line = outer_line
        return value

    def _variable(self, wanted: str) -> Value:
        for name, value in reversed(self.variables):
            if name == wanted:
                return value
        raise Fault(f"the variable `{wanted}` was not set, as its place in the template was passed over")

    def _set(self, name: str, value: Value, assigns: bool) -> None:
        if not assigns:
            self.variables.append((name, value))
            return
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == name:
                self.variables[index] = (name, value)
                return


def _field(value: Value, name: str) -> Value:
    if value is MISSING:
        return MISSING
    if isinstance(value, dict):
        return value.get(name, MISSING)
    if isinstance(value, Record) and name in value.fields:
        return value.fields[name]
    if value is None:
        raise Fault(f"`.{name}` is asked of a value that is nil")
    raise Fault(f"there is no field `.{name}` in a value of type {type_name(value)}")
