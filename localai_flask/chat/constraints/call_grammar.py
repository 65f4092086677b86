"""A grammar for the calls of an answer: how a model writes them, and what its tools' schemas allow.

JSON arguments are parts of the grammar, left to the engine as schemas. Arguments in tags or in a notation of their own
have a rule for each parameter, in the order of the schema; parameters that it does not list cannot be given there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from localai_flask.chat.constraints.argument_rules import (
    ANY,
    TERMINALS,
    WS,
    ArgumentRules,
    json_literal,
    literal,
    schema_form,
)
from localai_flask.chat.constraints.lark import (
    Expression,
    Grammar,
    Literal,
    Name,
    Regex,
    Repeat,
    choice,
    optional,
    sequence,
)
from localai_flask.chat.constraints.tool_checks import find_fault
from localai_flask.chat.conversation import Tool
from localai_flask.chat.formats.notation import Notation
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Constraint

_CALL, _BODY = Name("call"), Name("body")


def json_form(schema: Any, param: str) -> Constraint:
    """Bind a text to a JSON Schema, with no more properties than it lists; raise `InvalidRequest` if it is none."""
    if fault := find_fault(schema):
        raise InvalidRequest(f"`{param}` is no JSON Schema: {fault}.", param=param)
    return schema_form(schema, param)


class CallGrammar:
    """The rules and parts for the calls of all tools; `must` says that what cannot be enforced is to be refused."""

    def __init__(self, notation: Notation, tools: Sequence[Tool], must: bool, once: bool):
        self.notation = notation
        self.once = once or notation.block.is_single
        self.grammar = Grammar(TERMINALS)
        self._frame = json_literal if notation.call.is_json else literal
        rules = ArgumentRules(notation.arguments, self.grammar)
        bodies = [self._body(f"{index}", tool, rules, must) for index, tool in enumerate(tools)]
        self.grammar.define(_BODY.name, choice(bodies))
        self.grammar.define(_CALL.name, sequence(self._frame(notation.call.before), _BODY))

    def behind(self, trigger: str) -> Name:
        """Return the rule for what stands behind a block's trigger."""
        block, call = self.notation.block, self.notation.call
        if trigger in block.opening:
            rest = literal(block.opening.partition(trigger)[2])
            return self.grammar.define("calls", sequence(rest, self._many(), literal(block.closing)))
        return self.grammar.define("calls", sequence(self._frame(call.before.partition(trigger)[2]), _BODY))

    def whole(self, may_think: bool, is_free: bool) -> Name:
        """Return the rule for a whole block, and what the model may think before it.

        `is_free` leaves the model the choice to do without: then no white space before it may settle that it calls.
        """
        block = self.notation.block
        calls = sequence(literal(block.opening), self._many(), literal(block.closing))
        begun = map(optional, preface(self.notation, self.grammar) if may_think else ())
        return self.grammar.define("calls", sequence(*begun, *(() if is_free else (WS,)), calls))

    def _body(self, id: str, tool: Tool, rules: ArgumentRules, must: bool) -> Name:
        """Return the rule for a call of one tool, from its name on."""
        is_lax = not (must or tool.strict)
        param = f"tools[{tool.name}].function.parameters"
        call = self.notation.call
        name = json.dumps(tool.name, ensure_ascii=False) if call.is_json else tool.name
        between = Regex(call.between_pattern) if call.between_pattern else self._frame(call.between)
        if tool.text_form is None:
            arguments = rules.arguments(id, _schema(tool, param), param, is_lax)
        else:
            arguments = rules.only_text(id, next(iter(_schema(tool, param)["properties"])), tool.text_form)
        return self.grammar.define(f"body_{id}", sequence(Literal(name), between, arguments, self._frame(call.after)))

    def _many(self) -> Expression:
        if self.once:
            return _CALL
        calls = sequence(_CALL, Repeat(sequence(literal(self.notation.block.joint), _CALL)))
        if not self.notation.block.may_be_list:
            return calls
        return choice((_CALL, sequence(Literal("["), WS, calls, WS, Literal("]"))))


def preface(notation: Notation, grammar: Grammar) -> tuple[Expression, ...]:
    """Return the rule for what a model writes before its calls or its text, if it has marks for that."""
    if notation.preface is None:
        return ()
    begin, end = notation.preface
    rest = grammar.define("preface_rest", sequence(ANY, Literal(end)), is_lazy=True)
    return (grammar.define("preface", sequence(Literal(begin), rest)),)


def _schema(tool: Tool, param: str) -> dict[str, Any]:
    # A function that declares no parameters takes none.
    schema = dict(tool.parameters or {"properties": {}, "additionalProperties": False})
    if schema.setdefault("type", "object") != "object":
        raise InvalidRequest(f"`{param}` must be a schema of type object.", param=param)
    return schema
