"""What a request for a message asks of its output, of its thinking, and of what is left out of its conversation."""

from __future__ import annotations

from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.request.fields import (
    Either,
    Many,
    Mapping,
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

EFFORTS = ("low", "medium", "high", "xhigh", "max")


class ThinkingSchema(RequestSchema):
    type = Text(required=True, validate=one_of("enabled", "disabled", "adaptive", "between_tools"))
    budget_tokens = Whole(1)
    display = Text(validate=one_of("summarized", "omitted"))


class OutputFormatSchema(RequestSchema):
    type = Text(required=True, validate=one_of("json_schema"))
    schema = Mapping(required=True)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Constraint:
        return json_form(data["schema"], "output_config.format.schema")


class OutputConfigSchema(RequestSchema):
    effort = Text(validate=one_of(*EFFORTS))
    task_budget = Refused("is kept by Anthropic's servers; send `max_tokens`.")
    format = Object(OutputFormatSchema)


class ContextEdit(RequestSchema):
    """What is taken out of the conversation: here, the thoughts of all turns but the last ones."""

    type = Text(required=True)
    keep = Either()

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> int | None:
        """Return how many turns keep their thoughts; None for all."""
        if data["type"] != "clear_thinking_20251015":
            raise ValidationError({"type": [Unsupported(f"is {data['type']}, which this server does not do.")]})
        keep = data.get("keep", {"type": "thinking_turns", "value": 1})
        if keep == "all" or (isinstance(keep, dict) and keep.get("type") == "all"):
            return None
        value = keep.get("value") if isinstance(keep, dict) else None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValidationError({"keep": ["must be `all`, or how many `thinking_turns` to keep, 1 or more."]})
        return value


class ContextManagement(RequestSchema):
    edits = Many(fields.Nested(ContextEdit), load_default=list)


def asked_output(data: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked of the output; its format has stood in a field of its own before."""
    config: dict[str, Any] = data.get("output_config", {})
    for message in data["messages"]:
        config = {**config, **message.get("output_config", {})}
    if "output_format" not in data:
        return config
    if "format" in config:
        raise ValidationError({"output_format": ["is not possible together with `output_config.format`."]})
    return {**config, "format": data["output_format"]}


def thinking_wishes_of(thinking: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return what Anthropic's own fields say of thinking, as the arguments of `Conversation`."""
    wishes: dict[str, Any] = {}
    if config.get("effort"):
        wishes["reasoning_effort"] = config["effort"]
    if (switch := _switch(thinking)) is not None:
        wishes["enable_thinking"] = switch
    if "budget_tokens" in thinking:
        wishes |= {"thinking_budget": thinking["budget_tokens"], "thinking_field": "thinking.budget_tokens"}
    return wishes


def _switch(thinking: dict[str, Any]) -> bool | None:
    kind = thinking.get("type")
    if kind == "between_tools":
        raise ValidationError({"thinking": {"type": [Unsupported("between_tools cannot be asked of local models.")]}})
    if kind == "enabled" and "budget_tokens" not in thinking:
        raise ValidationError({"thinking": {"budget_tokens": ["is required."]}})
    return None if kind is None else kind != "disabled"
