"""The environment that chat templates run in: Jinja's sandbox with Hugging Face's functions, and bounded.

The settings and functions follow https://huggingface.co/docs/transformers/chat_templating_writing. A list that the
template has made itself may grow, as some models' templates need it to; nothing else can be changed.
"""

from __future__ import annotations

import datetime
import json
import types
from collections.abc import Iterator
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.sandbox
import jinja2.utils
from jinja2 import nodes
from jinja2.exceptions import SecurityError

from localai_flask.chat.prompt.jinja import allowed, bounds

GROWING = frozenset({"append", "pop"})
COMPARING = frozenset({"count", "index"})
WIDEST_INDENT = 32
PASSING = {jinja2.utils._PassArg.context, jinja2.utils._PassArg.eval_context, jinja2.utils._PassArg.environment}


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's words for training; here they are just rendered."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class Namespace(jinja2.utils.Namespace):
    """A namespace without names that mean something to Python."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # no name before these, as a template may use any
        self, *mappings = args
        values = dict(*mappings, **kwargs)
        for name in values:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or name.startswith("_"):
        raise SecurityError(f"a namespace cannot have the attribute {name!r}")


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The sandbox; whoever renders must have called `bounds.usage.begin`."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})
    concat = staticmethod(bounds.concat)  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[GenerationTag, jinja2.ext.loopcontrols],
            finalize=bounds.written,
        )
        self.filters["tojson"] = _to_json
        self.filters = {
            name: bounds.guarded(name, code, takes=_context_arguments(code))
            for name, code in self.filters.items()
            if name in allowed.FILTERS
        }
        tests: dict[str, Any] = {name: code for name, code in self.tests.items() if name in allowed.TESTS}
        self.tests = {name: bounds.guarded_test(name, code) for name, code in tests.items()}
        del self.globals["lipsum"]
        self.globals["dict"] = _make_dict
        self.globals["namespace"] = Namespace
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        repeated: Iterator[Any] = template.find_all((nodes.For, nodes.Macro, nodes.CallBlock))
        for node in repeated:
            step = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
            node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        for node in template.find_all(nodes.For):
            node.iter = nodes.Call(nodes.EnvironmentAttribute("stepped"), [node.iter], [], None, None)
        _Checks().visit(template)
        template.set_environment(self)
        return template

    @staticmethod
    def step() -> None:
        """Stand at the beginning of everything that a template may repeat; `call` does the counting."""

    @staticmethod
    def stepped(values: Any) -> Any:
        """Stand before a loop, which may have no repetitions and take long nevertheless."""
        return values

    @staticmethod
    def joined(*values: Any) -> str:
        """Put values together, as `~` does."""
        return bounds.concat([str(bounds.written(value)) for value in values])

    compared = staticmethod(bounds.written)

    def call(self, context: jinja2.runtime.Context, code: Any, /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        bounds.usage.step()
        owner = getattr(code, "__self__", None)
        if isinstance(owner, str):
            bounds.check_method(getattr(code, "__name__", ""), owner, args, kwargs)
        if _walks(code, owner):
            for value in args if isinstance(owner, dict) else (owner, *args):
                bounds.weigh(value)
        return bounds.checked(super().call(context, code, *args, **kwargs))

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(obj, bounds.written(argument))

    def wrap_str_format(self, value: Any) -> Any:
        write = super().wrap_str_format(value)
        if write is None:
            return None

        def write_checked(*args: Any, **kwargs: Any) -> Any:
            bounds.check_form(value.__self__, [*args, *kwargs.values()])
            return write(*args, **kwargs)

        return write_checked

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        bounds.check_operation(operator, left, right)
        return bounds.checked(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if type(obj) is list and attr in GROWING:
            return bounds.usage.is_own(obj)
        if not super().is_safe_attribute(obj, attr, value):
            return False
        methods = next((names for kind, names in allowed.METHODS.items() if isinstance(obj, kind)), None)
        return methods is None or attr in methods


def _walks(code: Any, owner: Any) -> bool:
    """Return whether a call hashes, compares or writes out its arguments with all that they hold."""
    if isinstance(owner, list | tuple):
        return getattr(code, "__name__", "") in COMPARING
    return isinstance(owner, dict) or any(code is each for each in (_make_dict, Namespace, _raise_exception))


def _context_arguments(code: Any) -> int:
    """Return how many arguments Jinja puts before those of the template."""
    return int(jinja2.utils._PassArg.from_obj(code) in PASSING)


class _Checks(jinja2.visitor.NodeTransformer):
    """Puts checks where an operator would walk through nested values without end."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Call(nodes.EnvironmentAttribute("joined"), node.nodes, [], None, None, lineno=node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        sides: list[Any] = [node, *node.ops]
        if len(sides) > 2 or not any(isinstance(side.expr, nodes.Const) for side in sides):
            for side in sides:
                side.expr = _compared(side.expr)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = _compared(node.key)  # its hash is that of all that it holds
        return node


def _compared(value: nodes.Expr) -> nodes.Expr:
    return nodes.Call(nodes.EnvironmentAttribute("compared"), [value], [], None, None, lineno=value.lineno)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes <, > and & for HTML, which no model was trained on.
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_listed,
    )
    if indent is None:
        return encoder.encode(value)
    if (len(indent) if isinstance(indent, str) else int(indent)) > WIDEST_INDENT:
        raise SecurityError(f"it indents JSON by more than {WIDEST_INDENT} characters")
    return bounds.collected(encoder.iterencode(value))


def _listed(value: Any) -> list[Any]:
    """Take what `map` and `select` give for the list that templates mean."""
    if not isinstance(value, types.GeneratorType):
        raise TypeError(f"{type(value).__name__} is no JSON")
    return list(value)


def _make_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)
