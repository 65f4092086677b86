"""What can go wrong with a template: the error that callers see, and the one that functions raise inside."""

from __future__ import annotations

from localai_flask.errors import InvalidRequest


class TemplateError(InvalidRequest):
    """A template that is no template, or that fails on its data; `line` counts from one."""

    code = "template_error"

    def __init__(self, name: str, line: int, reason: str):
        super().__init__(f"template {name!r}, line {line}: {reason}")
        self.name, self.line, self.reason = name, line, reason


class Fault(Exception):
    """A sentence about what is wrong, raised where neither the template's name nor the line is known."""
