"""What requests of all families say of thinking, beside their own ways: whether, how long, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from typing import Any

import marshmallow

from localai_flask.api.request.fields import Flag, Mapping, RequestSchema, Text, Whole, one_of

LONGEST_TEMPLATE = 64 * 1024
SHOWN_AS = ("auto", "parsed", "deepseek", "hidden", "none", "raw")


class TemplateFields(RequestSchema):
    """What reaches the prompt, under our own names; the table of foreign ones has the others."""

    enable_thinking = Flag(metadata={"description": "Whether the model thinks, if its template can switch it."})
    reasoning_effort = Text(metadata={"description": "How much it thinks, in its template's words; none: not at all."})
    chat_template_kwargs = Mapping(metadata={"description": "Variables for the chat template."})
    chat_template = Text(
        validate=marshmallow.validate.Length(
            1, LONGEST_TEMPLATE, error="must have between {min} and {max} characters."
        ),
        metadata={"description": "A chat template (Jinja) in the place of the model's own."},
    )


class ThinkingFields(TemplateFields):
    """And how long the model may think, and how that is shown."""

    thinking_budget = Whole(-1, metadata={"description": "How many tokens it may think; -1: no limit."})
    reasoning_control = Flag(
        metadata={"description": "true: its thinking may be ended by POST /v1/chat/completions/control."}
    )
    reasoning_budget_message = Text(metadata={"description": "What is written where the budget ends its thinking."})
    include_reasoning = Flag(metadata={"description": "false: its thinking is not shown."})
    reasoning_format = Text(
        validate=one_of(*SHOWN_AS),
        metadata={"description": "none, raw: thinking stays in the text, with its marks; hidden: it is not shown."},
    )


def thinking_wishes(data: MappingOf[str, Any]) -> dict[str, Any]:
    """Return what a loaded request says, as the arguments of `Conversation`."""
    shown_as = data.get("reasoning_format", "auto")
    return {
        "template": data.get("chat_template", ""),
        "template_kwargs": data.get("chat_template_kwargs", {}),
        "reasoning_effort": data.get("reasoning_effort", ""),
        "enable_thinking": data.get("enable_thinking"),
        "thinking_budget": data.get("thinking_budget"),
        "controls_thinking": data.get("reasoning_control", False),
        "thinking_budget_message": data.get("reasoning_budget_message", ""),
        "hides_thinking": shown_as == "hidden" or not data.get("include_reasoning", True),
        "reads_thinking": shown_as not in ("none", "raw"),
    }
