"""Rendering of the models' own chat templates (Jinja), in a sandbox, as Hugging Face's tokenizers do it.

A template comes with a downloaded model, so it is untrusted: it reaches nothing but its data, and what it makes is
bounded.
The environment's settings follow https://huggingface.co/docs/transformers/chat_templating_writing.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
from jinja2.exceptions import SecurityError

from localai_flask.errors import ConfigError, InvalidRequest

MAX_RENDERED = 16 * 1024 * 1024
"""Characters that a rendered prompt may have."""

PYTHON_FAULTS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
TEMPLATE_FAULTS = (jinja2.TemplateError, *PYTHON_FAULTS)
"""What an expression of a template may raise: its faults, not ours."""


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's words for training; here they are just rendered."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The sandbox, with multiplication bounded: one expression could fill the memory otherwise."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("chat templates may not use the operator **")
        for many, times in ((left, right), (right, left)):
            if isinstance(many, str | list | tuple) and isinstance(times, int) and len(many) * times > MAX_RENDERED:
                raise SecurityError("a chat template made a value that is too large")
        return super().call_binop(context, operator, left, right)


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Render a chat template.

    Raises `ConfigError` if the template is no Jinja, and `InvalidRequest` with the template's own words if it refuses
    the messages or fails on them.
    """
    compiled = _compile(template)
    pieces: list[str] = []
    room = MAX_RENDERED
    try:
        for piece in compiled.generate(variables):
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                raise InvalidRequest(f"The model's chat template made more than {MAX_RENDERED} characters.")
    except TEMPLATE_FAULTS as error:
        raise InvalidRequest(f"The model's chat template refuses these messages: {error}", param="messages") from error
    return "".join(pieces)


@functools.lru_cache(maxsize=64)
def _compile(template: str) -> jinja2.Template:
    try:
        return _environment().from_string(template)
    except jinja2.TemplateSyntaxError as error:
        where = f"line {error.lineno}: {error.message}"
        raise ConfigError(f"The model's chat template is no valid Jinja: {where}") from error


@functools.cache
def _environment() -> Sandbox:
    sandbox = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols])
    sandbox.filters["tojson"] = _to_json
    sandbox.globals["raise_exception"] = _raise_exception
    sandbox.globals["strftime_now"] = _strftime_now
    return sandbox


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes <, > and & for HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)
