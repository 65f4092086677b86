"""The fields by which a request gives its answer a form: OpenAI's, our own, and those of other servers."""

from __future__ import annotations

import json
from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.request.fields import (
    Either,
    Flag,
    Many,
    Mapping,
    Object,
    Refused,
    RequestSchema,
    Text,
    not_empty,
    one_of,
)
from localai_flask.chat.constraints.constraint import json_form
from localai_flask.generation import Constraint

GUIDED = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "json_schema": "json",
    "regex": "regex",
    "regex_pattern": "regex",
    "ebnf": "grammar",
    "grammar_string": "grammar",
    "format": "format",
}
"""The fields of vLLM, llama-server, SGLang, TabbyAPI, text-generation-webui and Ollama, by what they hold."""
OBJECT = {"type": "object"}
TYPES = ("text", "json_object", "json_schema", "json", "regex", "grammar")
"""What a `response_format` may be; the last three are those of TGI and Fireworks."""


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


class Format(Either):
    """Ollama's: `json`, or a JSON Schema."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value in ("", "json"):
            return OBJECT if value else None
        return JsonSchema().deserialize(value)


class JsonSchemaFormat(RequestSchema):
    name = Text()
    schema = JsonSchema(metadata=OBJECT)
    strict = Flag()


class ResponseFormat(RequestSchema):
    """The form of the text; a JSON Schema, which may also stand beside the type, is kept to, `strict` or not."""

    type = Text(required=True, validate=one_of(*TYPES))
    json_schema = Object(JsonSchemaFormat)
    schema = JsonSchema(metadata={**OBJECT, "description": "The same, as llama-server has it."})
    value = Either(metadata={"description": "A JSON Schema or a regular expression, as TGI has it."})
    pattern = Text()
    grammar = Text(metadata={"description": "A grammar in GBNF, as Fireworks has it."})

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Constraint | None:
        kind = data["type"]
        if kind == "text":
            return None
        if kind == "regex":
            return Constraint("regex", _text(data, "value", "pattern"), "response_format")
        if kind == "grammar":
            return Constraint("gbnf", _text(data, "grammar", "value"), "response_format.grammar")
        named = data.get("json_schema", {}).get("schema")
        if named is not None:
            return json_form(named, "response_format.json_schema.schema")
        schema = data.get("schema", JsonSchema().deserialize(data["value"]) if "value" in data else None)
        if schema is not None:
            return json_form(schema, "response_format.schema")
        if kind == "json_schema" and "json_schema" not in data:
            raise ValidationError({"json_schema": ["is required for this `type`."]})
        if kind == "json_schema" and not data["json_schema"]:
            raise ValidationError({"json_schema": {"schema": ["is required."]}})
        return json_form(OBJECT if kind != "json_schema" else {}, "response_format")


def _text(data: dict[str, Any], *names: str) -> str:
    value = next((data[name] for name in names if name in data), None)
    if not isinstance(value, str) or not value:
        raise ValidationError({names[0]: [f"must be text for the `type` {data['type']}."]})
    return value


class FormFields(RequestSchema):
    """The fields of a request about its answer's form."""

    response_format = Object(ResponseFormat)
    grammar = Text(metadata={"description": "A grammar in GBNF that the text keeps to."})
    structured_outputs = fields.Nested(StructuredOutputs)
    guided_json = JsonSchema(metadata=OBJECT)
    guided_regex = Text()
    guided_choice = Choices()
    guided_grammar = Text()
    json_schema = JsonSchema(metadata={**OBJECT, "description": "As `guided_json`, as llama-server has it."})
    regex = Text()
    regex_pattern = Text()
    ebnf = Text()
    grammar_string = Text()
    format = Format(metadata={"description": "`json` or a JSON Schema, as Ollama has it."})


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
        if data.get(name) not in (None, ""):
            forms[name] = _form(kind, data[name], name)
    if len(forms) > 1:
        other, name = list(forms)[:2]
        raise ValidationError({name: [f"is not possible together with `{other}`; send one of them."]})
    return next(iter(forms.values()), None)


def _form(kind: str, value: Any, param: str) -> Constraint:
    match kind:
        case "json" | "format":
            return json_form(value, param)
        case "json_object":
            return json_form(OBJECT, param)
        case "regex":
            return Constraint("regex", value, param)
        case "grammar":
            return Constraint("gbnf", value, param)
        case "choice":
            choices = " | ".join(json.dumps(each, ensure_ascii=False) for each in value)
            return Constraint("lark", f"start: {choices}", param)
    raise AssertionError(kind)
