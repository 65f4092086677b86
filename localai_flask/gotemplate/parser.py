"""From tokens to nodes. Unknown functions and variables and misplaced words are found here, before any rendering."""

from __future__ import annotations

from localai_flask.gotemplate import nodes
from localai_flask.gotemplate.lexer import Kind
from localai_flask.gotemplate.pipelines import STATEMENTS, PipelineParser


class Parser(PipelineParser):
    """Reads one template text; `templates` collects what it defines, the text itself under its own name."""

    def __init__(self, name: str, source: str):
        super().__init__(name, source)
        self.loops = 0
        self.templates: dict[str, nodes.Body] = {}

    def parse(self) -> dict[str, nodes.Body]:
        """Read everything; raises `TemplateError`."""
        body: list[nodes.Node] = []
        while self._peek().kind is not Kind.END:
            if self._peek_statement() == "define":
                self._definition()
            else:
                body.append(self._node())
        self._define(self.name, tuple(body))
        return self.templates

    # Blocks

    def _body(self) -> nodes.Body:
        """Read up to `else` or `end`, which is left for the caller."""
        body, scope = [], len(self.variables)
        with self._nested():
            while self._peek_statement() not in ("else", "end"):
                if self._peek().kind is Kind.END:
                    self._fail("a block is not closed: `{{end}}` is missing")
                body.append(self._node())
        del self.variables[scope:]
        return tuple(body)

    def _node(self) -> nodes.Node:
        token = self._next()
        if token.kind is Kind.TEXT:
            return nodes.Text(token.text)
        self._skip_space()
        word = self._peek().text if self._peek().kind is Kind.WORD else ""
        if word not in STATEMENTS:
            return nodes.Action(self._pipe("an action", Kind.CLOSE))
        self._next()
        if word in ("if", "with"):
            return self._branch(word)
        if word == "range":
            return self._range()
        if word in ("template", "block"):
            return self._invoke(defines=word == "block")
        if word in ("break", "continue"):
            return self._loop_control(word)
        if word == "define":
            self._fail("`define` stands inside of another block; move it to the top of the template")
        self._fail(f"`{word}` has no block that it belongs to")

    def _branch(self, word: str) -> nodes.Node:
        scope = len(self.variables)
        arms = [nodes.Arm(self._pipe(word, Kind.CLOSE), self._body())]
        otherwise: nodes.Body = ()
        while self._end_or_else() == "else":
            if self._peek_word() == word:
                self._next()
                arms.append(nodes.Arm(self._pipe(f"else {word}", Kind.CLOSE), self._body()))
            else:
                otherwise = self._last_body()
                break
        del self.variables[scope:]
        return nodes.Branch(tuple(arms), otherwise, moves_dot=word == "with")

    def _range(self) -> nodes.Node:
        scope = len(self.variables)
        pipe = self._pipe("range", Kind.CLOSE)
        self.loops += 1
        body = self._body()
        self.loops -= 1
        otherwise = self._last_body() if self._end_or_else() == "else" else ()
        del self.variables[scope:]
        return nodes.Range(pipe, body, otherwise)

    def _end_or_else(self) -> str:
        self._next()
        self._skip_space()
        word = self._next().text
        if word == "end":
            self._expect(Kind.CLOSE, "`end`")
        return word

    def _last_body(self) -> nodes.Body:
        self._expect(Kind.CLOSE, "`else`")
        body = self._body()
        if self._end_or_else() == "else":
            self._fail("a block has more than one `else`")
        return body

    def _loop_control(self, word: str) -> nodes.Node:
        if not self.loops:
            self._fail(f"`{word}` stands outside of a `range`")
        self._expect(Kind.CLOSE, f"`{word}`")
        return nodes.Break() if word == "break" else nodes.Continue()

    # Templates

    def _definition(self) -> None:
        self._next()
        self._skip_space()
        self._next()
        name = self._template_name()
        self._expect(Kind.CLOSE, "`define`")
        self._define(name, self._own_body())

    def _own_body(self) -> nodes.Body:
        """Read the body of a template of its own: it sees neither the variables nor the loops around it."""
        outer = self.variables, self.loops
        self.variables, self.loops = ["$"], 0
        body = self._body()
        if self._end_or_else() == "else":
            self._fail("a `define` or `block` has no `else`")
        self.variables, self.loops = outer
        return body

    def _define(self, name: str, body: nodes.Body) -> None:
        if name not in self.templates or _is_empty(self.templates[name]):
            self.templates[name] = body
        elif not _is_empty(body):
            self._fail(f"the template {name!r} is defined twice")

    def _invoke(self, defines: bool) -> nodes.Node:
        line = self._peek().line
        name = self._template_name()
        self._skip_space()
        pipe = None
        if defines or self._peek().kind is not Kind.CLOSE:
            pipe = self._pipe("a template's data", Kind.CLOSE)
        else:
            self._next()
        if defines:
            self._define(name, self._own_body())
        return nodes.Invoke(line, name, pipe)

    def _template_name(self) -> str:
        self._skip_space()
        token = self._next()
        if token.kind not in (Kind.STRING, Kind.RAW_STRING):
            self._fail(f"a template's name must be a string in quotes, not {token}")
        return str(self._literal(token))


def _is_empty(body: nodes.Body) -> bool:
    return all(isinstance(node, nodes.Text) and not node.text.strip() for node in body)
