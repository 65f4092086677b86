"""What a request for a response asks of its text's form, and of its thinking."""

from __future__ import annotations

from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request.controls.sampling import invalid
from localai_flask.api.request.fields import (
    Flag,
    Mapping,
    Noted,
    Object,
    Refused,
    RequestSchema,
    Text,
    Whole,
    one_of,
)
from localai_flask.api.request.parsing import Unsupported
from localai_flask.chat.constraints.constraint import json_form
from localai_flask.generation import Constraint

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


class NamedSchema(RequestSchema):
    name = Text()
    schema = Mapping()
    description = Text()
    strict = Flag()


class TextFormat(RequestSchema):
    """The form of the text; a schema stands in it, or, as in chat completions, in its `json_schema`."""

    type = Text(required=True, validate=one_of("text", "json_object", "json_schema"))
    name = Text()
    schema = Mapping()
    description = Text()
    strict = Flag()
    json_schema = Object(NamedSchema)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        named = {**data.pop("json_schema", {}), **data}
        if named["type"] != "json_schema":
            return {"type": named["type"]}
        if "schema" not in named:
            raise ValidationError({"schema": ["is required for this `type`."]})
        return {
            "type": "json_schema",
            "name": named.get("name", "response"),
            "description": named.get("description"),
            "schema": named["schema"],
            "strict": named.get("strict", True),
        }


class TextOptions(RequestSchema):
    format = Object(TextFormat)
    verbosity = Noted("is a hint, for which local models have no place; say so in `instructions`.")


class ReasoningOptions(RequestSchema):
    """`summary` puts the thinking, as it is, where clients look for a summary of it."""

    effort = Text(validate=one_of(*EFFORTS))
    mode = Refused("asks for another way to run a model than this server has.", harmless=("standard",))
    context = Refused(
        "asks for other thoughts in the prompt than the model's template takes.", harmless=("auto", "all_turns")
    )
    summary = Text(validate=one_of("auto", "concise", "detailed"))
    generate_summary = Text(validate=one_of("auto", "concise", "detailed"))
    max_tokens = Whole(-1, metadata={"description": "How many tokens it may think, as OpenRouter has it."})
    excludes = Flag(
        data_key="exclude", metadata={"description": "true: the thinking is not shown, as OpenRouter has it."}
    )
    enabled = Flag(metadata={"description": "Whether the model thinks, as OpenRouter has it."})

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        summary = data.get("summary") or data.get("generate_summary")
        if summary == "concise":
            reason = "asks for a concise summary, which this server does not write; send `auto` or `detailed`."
            raise ValidationError({"summary": [Unsupported(reason)]})
        asked = {"enable_thinking": "enabled", "thinking_budget": "max_tokens", "hides_thinking": "excludes"}
        wishes = {ours: data[theirs] for ours, theirs in asked.items() if theirs in data}
        if "thinking_budget" in wishes:
            wishes["thinking_field"] = "reasoning.max_tokens"
        if data.get("effort"):
            wishes["reasoning_effort"] = data["effort"]
        return {"shown": {"effort": data.get("effort"), "summary": summary}, "wishes": wishes}


def asked_text_form(data: dict[str, Any]) -> tuple[Constraint | None, dict[str, Any]]:
    """Return the form that a loaded request asks of the text, and how the response repeats it."""
    inside, beside = data.get("text", {}).get("format"), data.get("text_format")
    if inside and beside:
        raise invalid("text_format", "is not possible together with `text.format`; send one of them.")
    shown = inside or beside or {"type": "text"}
    field = "text.format" if inside else "text_format"
    if shown["type"] == "json_schema":
        return json_form(shown["schema"], f"{field}.schema"), shown
    return (json_form({"type": "object"}, field) if shown["type"] == "json_object" else None), shown
