"""Tools that are called with one free text instead of JSON; the model writes it as the one argument of a function."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from marshmallow import ValidationError

from localai_flask.api.request.fields import Either
from localai_flask.chat.conversation import Tool
from localai_flask.chat.output.partial_json import completed
from localai_flask.generation import Constraint

INPUT = "input"
"""The argument's name."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a tool's text must match: a regular expression, or a grammar as Lark writes them."""

    syntax: Literal["lark", "regex"]
    definition: str


class InputFormat(Either):
    """Free text (None), or a grammar; chat completions have it in an object of its own."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Grammar | None:
        kind = value.get("type") if isinstance(value, dict) else None
        if kind not in ("text", "grammar"):
            raise ValidationError({"type": ["must be one of: text, grammar."]})
        if kind == "text":
            return None
        inner = value.get("grammar", value)
        syntax, definition = (inner.get(key) if isinstance(inner, dict) else None for key in ("syntax", "definition"))
        if syntax not in ("lark", "regex"):
            raise ValidationError({"syntax": ["must be one of: lark, regex."]})
        if not isinstance(definition, str) or not definition:
            raise ValidationError({"definition": ["must be a string that is not empty."]})
        return Grammar(syntax, definition)


def custom_tool(name: str, description: str, grammar: Grammar | None) -> Tool:
    """Make the function by which the model calls a custom tool; its description shows the grammar."""
    form = None
    if grammar is not None:
        words = "Lark grammar" if grammar.syntax == "lark" else "regular expression"
        description = f"{description}\n\nIts {INPUT} must match this {words}:\n{grammar.definition}".strip()
        form = Constraint(grammar.syntax, grammar.definition, f"tools[{name}].format.definition")
    schema = {
        "type": "object",
        "properties": {INPUT: {"type": "string"}},
        "required": [INPUT],
        "additionalProperties": False,
    }
    return Tool(name=name, description=description, parameters=schema, text_form=form)


def as_arguments(text: str) -> str:
    """Return the arguments of a call with this text."""
    return json.dumps({INPUT: text}, ensure_ascii=False)


def read_input(arguments: str) -> str:
    """Return the text out of a call's arguments, which may have been cut."""
    text = completed(arguments).get(INPUT, "")
    return text if isinstance(text, str) else arguments
