"""The fields by which a request gives its answer a form, beside `response_format`: `grammar`, and those of vLLM."""

from __future__ import annotations

import json
from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.request.fields import Either, Flag, Many, Mapping, Refused, RequestSchema, Text, not_empty
from localai_flask.chat.constraints.constraint import json_form
from localai_flask.generation import Constraint

GUIDED = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar"}
"""vLLM's older fields, and the entry of `structured_outputs` that each stands for."""


class JsonSchema(Either):
    """A JSON Schema, also as text."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise ValidationError("must be a JSON Schema, but is no JSON.") from None
        return Mapping()._deserialize(value, *args, **kwargs)


class Choices(Many):
    """The texts of which the answer is one."""

    def __init__(self) -> None:
        super().__init__(Text(validate=not_empty()), validate=not_empty())


class StructuredOutputs(RequestSchema):
    """Exactly one of them."""

    json = JsonSchema(metadata={"type": "object"})
    json_object = Flag()
    regex = Text(validate=not_empty())
    choice = Choices()
    grammar = Text(validate=not_empty(), metadata={"description": "A grammar in GBNF."})
    structural_tag = Refused("is not supported; use `tools`, or a `grammar`.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        data = {name: value for name, value in data.items() if value is not False and value is not None}
        if len(data) != 1:
            raise ValidationError("must have exactly one of: json, json_object, regex, choice, grammar.")
        return data


class FormFields(RequestSchema):
    """The fields of a request about its answer's form."""

    grammar = Text(metadata={"description": "A grammar in GBNF that the text keeps to."})
    structured_outputs = fields.Nested(StructuredOutputs)
    guided_json = JsonSchema(metadata={"type": "object"})
    guided_regex = Text()
    guided_choice = Choices()
    guided_grammar = Text()


def asked_form(data: dict[str, Any]) -> Constraint | None:
    """Return the one form that a loaded request asks for; raise `ValidationError` if it asks for several."""
    forms: dict[str, Constraint] = {}
    if form := data.get("response_format"):
        forms["response_format"] = form
    if data.get("grammar"):
        forms["grammar"] = Constraint("gbnf", data["grammar"], "grammar")
    for kind, value in data.get("structured_outputs", {}).items():
        forms["structured_outputs"] = _form(kind, value, f"structured_outputs.{kind}")
    for name, kind in GUIDED.items():
        if data.get(name):
            forms[name] = _form(kind, data[name], name)
    if len(forms) > 1:
        other, name = list(forms)[:2]
        raise ValidationError({name: [f"is not possible together with `{other}`; send one of them."]})
    return next(iter(forms.values()), None)


def _form(kind: str, value: Any, param: str) -> Constraint:
    match kind:
        case "json":
            return json_form(value, param)
        case "json_object":
            return json_form({"type": "object"}, param)
        case "regex":
            return Constraint("regex", value, param)
        case "grammar":
            return Constraint("gbnf", value, param)
    return Constraint("lark", "start: " + " | ".join(json.dumps(each, ensure_ascii=False) for each in value), param)
