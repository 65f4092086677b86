"""Compiled templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from localai_flask.gotemplate import nodes
from localai_flask.gotemplate.budget import Budget
from localai_flask.gotemplate.errors import Fault, TemplateError
from localai_flask.gotemplate.evaluator import Run
from localai_flask.gotemplate.parser import Parser
from localai_flask.gotemplate.values import adopt, to_utf8

MAX_OUTPUT = 16 * 1024 * 1024
"""Characters that a rendering may have."""

MAX_STEPS = 1_000_000
"""Nodes and values that a rendering may visit: about two seconds of work."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was parsed; immutable, so that it may be cached and shared between threads."""

    name: str
    bodies: Mapping[str, nodes.Body]

    def render(self, data: object, *, max_output: int = MAX_OUTPUT, max_steps: int = MAX_STEPS) -> str:
        """Render with data: mappings, sequences, scalars, and dataclasses or msgspec structs by their fields' names.

        Raises `TemplateError` if the template fails on the data or goes beyond a bound.
        """
        run = Run(self.bodies, Budget(max_steps, max_output))
        try:
            run.invoke(self.name, adopt(data))
        except Fault as fault:
            raise TemplateError(self.name, run.line, str(fault)) from fault
        except RecursionError as error:  # how much of the stack the caller has left is not ours to know
            raise TemplateError(self.name, run.line, "the template or its data are nested too deep") from error
        return to_utf8(run.output.text()).decode("utf-8", "replace")


def parse(source: str, name: str = "template") -> Template:
    """Compile a template; raises `TemplateError` with the line and what is wrong there."""
    try:
        return Template(name, MappingProxyType(Parser(name, source).parse()))
    except RecursionError as error:
        raise TemplateError(name, 1, "the template is nested too deep") from error
