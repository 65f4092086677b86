"""The parsing of pipelines: the values, functions and variables that an action is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from localai_flask.gotemplate import nodes
from localai_flask.gotemplate.budget import MAX_DEPTH
from localai_flask.gotemplate.errors import Fault, TemplateError
from localai_flask.gotemplate.functions.function import Function
from localai_flask.gotemplate.functions.table import FUNCTIONS, REFUSED
from localai_flask.gotemplate.lexer import Kind, Lexer, Token
from localai_flask.gotemplate.text import literals

CONSTANT_WORDS: dict[str, Any] = {"true": True, "false": False, "nil": None}
STATEMENTS = {"if", "with", "range", "template", "block", "define", "break", "continue", "else", "end"}
LITERALS: dict[Kind, Callable[[str], Any]] = {
    Kind.STRING: literals.string,
    Kind.RAW_STRING: lambda text: text[1:-1].replace("\r", ""),
    Kind.CHAR: literals.character,
    Kind.NUMBER: literals.number,
}


class PipelineParser:
    """Reads pipelines off the tokens of one template, and knows which variables there are."""

    def __init__(self, name: str, source: str):
        self.name = name
        self.tokens = list(Lexer(name, source).tokens())
        self.position = 0
        self.variables = ["$"]
        self.depth = 0

    def _pipe(self, context: str, closing: Kind) -> nodes.Pipe:
        """Read a pipeline and what closes it."""
        self._skip_space()
        line = self._peek().line
        with self._nested():
            names, assigns = self._declarations(context)
            commands = [self._command(context)]
            while self._peek().kind is Kind.PIPE:
                self._next()
                commands.append(self._command(context))
                if isinstance(commands[-1].operands[0], nodes.Constant | nodes.Dot):
                    self._fail("a value cannot stand after `|`; only a function can")
            self._expect(closing, context)
        # They are seen from here on: `{{$x := $x}}` means the outer one.
        self.variables.extend(() if assigns else names)
        return nodes.Pipe(line, tuple(commands), names, assigns)

    def _declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        start, names = self.position, []
        while self._peek().kind is Kind.VARIABLE:
            names.append(self._next().text)
            self._skip_space()
            if self._peek().kind is not Kind.COMMA:
                break
            self._next()
            self._skip_space()
        if not names or self._peek().kind not in (Kind.DECLARE, Kind.ASSIGN):
            self.position = start
            return (), False
        if len(names) > (2 if context == "range" else 1):
            self._fail(f"{context} sets too many variables")
        assigns = self._next().kind is Kind.ASSIGN
        for name in names if assigns else ():
            self._known_variable(name)
        return tuple(names), assigns

    def _command(self, context: str) -> nodes.Command:
        operands: list[nodes.Operand] = []
        self._skip_space()
        while self._peek().kind not in (Kind.PIPE, Kind.CLOSE, Kind.RIGHT):
            operands.append(self._operand(context))
            if self._peek().kind not in (Kind.SPACE, Kind.PIPE, Kind.CLOSE, Kind.RIGHT):
                self._fail(f"a space is missing before {self._peek()}")
            self._skip_space()
        if not operands:
            self._fail(f"a value is missing in {context}")
        if operands[0] == nodes.Constant(None):
            self._fail("`nil` is no command")
        return nodes.Command(tuple(operands))

    def _operand(self, context: str) -> nodes.Operand:
        token = self._next()
        base, fields = self._term(token, context), []
        if token.kind is Kind.FIELD:
            fields.append(token.text[1:])
        while self._peek().kind is Kind.FIELD:
            fields.append(self._next().text[1:])
        if fields and (isinstance(base, nodes.Constant) or token.kind is Kind.DOT):
            self._fail(f"{token} has no fields")
        return nodes.Chain(base, tuple(fields)) if fields else base

    def _term(self, token: Token, context: str) -> nodes.Operand:
        if token.kind in (Kind.DOT, Kind.FIELD):
            return nodes.Dot()
        if token.kind in LITERALS:
            return nodes.Constant(self._literal(token))
        if token.kind is Kind.VARIABLE:
            self._known_variable(token.text)
            return nodes.Variable(token.text)
        if token.kind is Kind.LEFT:
            return self._pipe("parentheses", Kind.RIGHT)
        if token.kind is Kind.WORD and token.text in CONSTANT_WORDS:
            return nodes.Constant(CONSTANT_WORDS[token.text])
        if token.kind is Kind.WORD and token.text not in STATEMENTS:
            return nodes.Call(self._function(token.text))
        self._fail(f"{token} has no place in {context}")

    def _function(self, name: str) -> Function:
        if name in REFUSED:
            self._fail(f"the function `{name}` is refused: {REFUSED[name]}")
        if name not in FUNCTIONS:
            self._fail(f"the function `{name[:40]}` is not defined")
        return FUNCTIONS[name]

    def _known_variable(self, name: str) -> None:
        if name not in self.variables:
            self._fail(f"the variable `{name[:40]}` is not defined here")

    def _literal(self, token: Token) -> Any:
        try:
            return LITERALS[token.kind](token.text)
        except Fault as fault:
            self._fail(str(fault))

    # Tokens

    def _peek(self) -> Token:
        return self.tokens[self.position]

    def _next(self) -> Token:
        token = self.tokens[self.position]
        if token.kind is not Kind.END:
            self.position += 1
        return token

    def _skip_space(self) -> None:
        if self._peek().kind is Kind.SPACE:
            self.position += 1

    def _peek_word(self) -> str:
        self._skip_space()
        return self._peek().text if self._peek().kind is Kind.WORD else ""

    def _peek_statement(self) -> str:
        """The statement that the next action is, if it is one."""
        if self._peek().kind is not Kind.OPEN:
            return ""
        following = self.tokens[self.position + 1 : self.position + 3]
        first = following[1] if following[0].kind is Kind.SPACE else following[0]
        return first.text if first.kind is Kind.WORD and first.text in STATEMENTS else ""

    def _expect(self, kind: Kind, context: str) -> None:
        self._skip_space()
        token = self._next()
        if token.kind is not kind:
            self._fail(f"{token} has no place in {context}; `{kind.value}` should follow")

    @contextmanager
    def _nested(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._fail(f"blocks and parentheses are nested more than the allowed {MAX_DEPTH} deep")
        yield
        self.depth -= 1

    def _fail(self, reason: str) -> NoReturn:
        raise TemplateError(self.name, self.tokens[max(self.position - 1, 0)].line, reason)
