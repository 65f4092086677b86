"""Rendering of the models' own chat templates (Jinja), in a sandbox, as Hugging Face's tokenizers do it.

A template comes with a downloaded model, so it is untrusted: it reaches nothing but its data, and what it does and
makes is bounded.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jinja2

from localai_flask.chat.prompt.jinja.bounds import MAX_RENDERED, usage
from localai_flask.chat.prompt.jinja.sandbox import Sandbox
from localai_flask.errors import ConfigError, InvalidRequest

MAX_SOURCE = 256 * 1024
"""Characters that a template may have."""
PYTHON_FAULTS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
TEMPLATE_FAULTS = (jinja2.TemplateError, *PYTHON_FAULTS)
"""What an expression of a template may raise: its faults, not ours."""


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Render a chat template.

    Raises `ConfigError` if the template is no Jinja, and `InvalidRequest` with the template's own words if it refuses
    the messages or fails on them.
    """
    compiled = _compile(template)
    pieces: list[str] = []
    room = MAX_RENDERED
    usage.begin(variables)
    try:
        for piece in compiled.generate(variables):
            pieces.append(piece)
            room -= len(piece)
            if room < 0:
                raise InvalidRequest(f"The model's chat template made more than {MAX_RENDERED} characters.")
    except TEMPLATE_FAULTS as error:
        raise InvalidRequest(f"The model's chat template refuses these messages: {error}", param="messages") from error
    finally:
        usage.end()
    return "".join(pieces)


@functools.lru_cache(maxsize=64)
def _compile(template: str) -> jinja2.Template:
    if len(template) > MAX_SOURCE:
        raise ConfigError(f"The model's chat template has more than {MAX_SOURCE} characters.")
    usage.begin({})
    try:
        return _environment().from_string(template)
    except jinja2.TemplateSyntaxError as error:
        where = f"line {error.lineno}: {error.message}"
        raise ConfigError(f"The model's chat template is no valid Jinja: {where}") from error
    except (jinja2.TemplateError, SyntaxError, *PYTHON_FAULTS) as error:  # what is nested too deep, or folded too large
        raise ConfigError(f"The model's chat template cannot be compiled: {error}") from error


@functools.cache
def _environment() -> Sandbox:
    return Sandbox()
