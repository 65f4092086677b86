"""The bodies of Open Responses' requests, and the calls they become.

A field that we know and cannot honour is refused by name; one that we do not know is ignored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.conversation.tool_choice import Choice, asked_by, chosen_tools
from localai_flask.api.request.controls.sampling import (
    CACHED,
    MAX_TOP_LOGPROBS,
    TIER,
    StreamingRequest,
    common,
    invalid,
)
from localai_flask.api.request.controls.sampling_fields import TokenLimit
from localai_flask.api.request.controls.thinking import ThinkingFields, thinking_wishes
from localai_flask.api.request.fields import (
    Either,
    Flag,
    Many,
    Noted,
    Object,
    Refused,
    RequestSchema,
    Text,
    Whole,
    one_of,
)
from localai_flask.api.request.foreign.translation import ForeignFields
from localai_flask.api.request.metadata import Metadata
from localai_flask.api.request.parsing import Unsupported
from localai_flask.api.responses.calls import Context, ResponseCall
from localai_flask.api.responses.input.items import Input
from localai_flask.api.responses.options import ReasoningOptions, TextFormat, TextOptions, asked_text_form
from localai_flask.api.responses.tools import (
    LeftOut,
    Offered,
    ToolChoice,
    Tools,
    added_tools,
    allowed,
    named_for_model,
    shown_tools,
)

LOGPROBS = "message.output_text.logprobs"
SEALED_THOUGHTS = "reasoning.encrypted_content"
OF_HOSTED_TOOLS = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
)
"""What `include` may ask of items that no response of this server has."""
INPUT = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}
ELSEWHERE = "is kept by OpenAI's servers, which this is not; leave it out."


class ConversationField(Either):
    """A conversation: its id, or an object that has it."""

    def __init__(self) -> None:
        schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
        super().__init__(allow_none=True, metadata={"oneOf": [{"type": "string"}, schema]})

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        id = value.get("id") if isinstance(value, dict) else value
        if not isinstance(id, str) or not id:
            raise ValidationError("must be the id of a conversation, or an object with that `id`.")
        return id


class ContextRequest(ForeignFields, ThinkingFields):
    """What the model shall read."""

    model = Text()
    input = Input(metadata=INPUT)
    instructions = Text(load_default="")
    previous_response_id = Text()
    tools = Tools(load_default=list, metadata={"type": "array", "items": {"type": "object"}})
    tool_choice = ToolChoice(
        metadata={"oneOf": [{"type": "string", "enum": ["auto", "none", "required"]}, {"type": "object"}]}
    )
    parallel_tool_calls = Flag()
    reasoning = Object(ReasoningOptions)
    text = Object(TextOptions)
    truncation = Text(load_default="disabled", validate=one_of("auto", "disabled"))
    conversation = ConversationField()
    prompt = Refused(ELSEWHERE)


class InputTokensRequest(ContextRequest):
    is_strict = False

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Context:
        return Context(**_context(data))


class CompactRequest(RequestSchema):
    model = Text()
    input = Input(metadata=INPUT)
    instructions = Text(load_default="")
    previous_response_id = Text()
    prompt_cache_key = Text()

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Context:
        if not data.get("input") and "previous_response_id" not in data:
            raise invalid("input", "is required, or a `previous_response_id`.")
        return Context(**_context({"tools": [], "truncation": "disabled", **data}))


class Padding(Refused):
    """The options of a stream; its usage comes in any case."""

    def __init__(self) -> None:
        super().__init__("asks for padding by `include_obfuscation`, which this server does not add.")

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, dict):
            raise ValidationError("must be an object.")
        if value.get("include_obfuscation"):
            raise ValidationError({"include_obfuscation": [Unsupported("asks for padding, which is not added here.")]})
        return {}


class ResponseRequest(StreamingRequest, ContextRequest):
    allowed_tools = Many(Text(), metadata={"description": "Names of the tools that may be called, as in LocalAI."})
    text_format = Object(TextFormat, metadata={"description": "As `text.format`, where LocalAI has it."})
    max_output_tokens = TokenLimit()
    max_tool_calls = Whole(1)
    top_logprobs = Whole(0, MAX_TOP_LOGPROBS)
    include = Many(Text(validate=one_of(LOGPROBS, SEALED_THOUGHTS, *OF_HOSTED_TOOLS)), load_default=list)
    store = Flag(load_default=True)
    background = Flag(load_default=False)
    metadata = Metadata()
    user = Text()
    safety_identifier = Text()
    prompt_cache_key = Text()
    service_tier = Noted(TIER)
    stream_options = Padding()  # type: ignore[assignment]
    n = Refused("is not possible here: a response has one answer.", harmless=(1,))  # type: ignore[assignment]
    prompt_cache_retention = Noted(CACHED)
    context_management = Refused("is not done by this server; send `truncation`, or call /v1/responses/compact.")
    moderation = Refused("is not done by this server.")
    access_programs = Refused("is for OpenAI's own servers.")
    image = Refused("asks for images, but this server writes text only.")
    background_options = Noted("is about when a background run begins: here as soon as there is room for it.")
    prompt_cache_options = Noted(CACHED)

    @marshmallow.post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> ResponseCall:
        if data.get("input") is None and "previous_response_id" not in data and not data.get("conversation"):
            raise invalid("input", "is required.")
        if data["background"] and not data["store"]:
            raise invalid("background", "needs `store` to be true.")
        if "max_output_tokens" in data:
            data["max_tokens"] = data["max_output_tokens"]
        shared = common(data)
        asked = shared["asked"]
        with_logprobs = LOGPROBS in data["include"] or bool(data.get("top_logprobs"))
        if with_logprobs:
            asked["top_logprobs"] = data.get("top_logprobs", 0)
        context = _context(data)
        choice, shown_choice = _choice(data, context["offered"])
        form, shown_format = asked_text_form(data)
        if form is not None and (other := shared["wanted"].form) is not None:
            raise invalid(other.param, f"is not possible together with `{form.param}`; send one of them.")
        reasoning = data.get("reasoning", {}).get("shown", {"effort": data.get("reasoning_effort"), "summary": None})
        once = choice.once or data.get("max_tool_calls") == 1
        wanted = dataclasses.replace(
            shared["wanted"],
            form=form or shared["wanted"].form,
            must_call=choice.mode == "required",
            asked_by=asked_by([each.tool for each in _given(data)], choice, "tools[{}].strict"),
        )
        return ResponseCall(
            **{
                **context,
                "tools": chosen_tools([each.tool for each in context["offered"]], choice),
                "parallel": False if once else context["parallel"],
            },
            asked=asked,
            waiting=shared["waiting"],
            wanted=wanted,
            body=original,
            max_tool_calls=data.get("max_tool_calls"),
            with_logprobs=with_logprobs,
            summarizes=reasoning["summary"] is not None,
            seals_thoughts=SEALED_THOUGHTS in data["include"],
            stream=shared["stream"],
            store=data["store"],
            background=data["background"],
            shown_tools=shown_tools(context["offered"]),
            shown_choice=shown_choice,
            shown_format=shown_format,
            shown_reasoning=reasoning,
            metadata=data.get("metadata", {}),
            user=data.get("user"),
            safety_identifier=data.get("safety_identifier"),
            prompt_cache_key=data.get("prompt_cache_key"),
        )


def _context(data: dict[str, Any]) -> dict[str, Any]:
    if data.get("conversation") and data.get("previous_response_id"):
        raise invalid("conversation", "is not possible together with `previous_response_id`; send one of them.")
    choice = data.get("tool_choice", (Choice(), "auto"))[0]
    offered = _offered(data)
    return {
        "model": data.get("model") or None,
        "items": data.get("input") or [],
        "previous_id": data.get("previous_response_id") or None,
        "conversation_id": data.get("conversation"),
        "instructions": data["instructions"],
        "tools": chosen_tools([each.tool for each in offered], named_for_model(choice, offered)),
        "offered": offered,
        "left_out": tuple(dict.fromkeys(each.kind for each in data["tools"] if isinstance(each, LeftOut))),
        "parallel": False if choice.once else data.get("parallel_tool_calls"),
        "thinking": {**thinking_wishes(data), **data.get("reasoning", {}).get("wishes", {})},
        "truncates": data["truncation"] == "auto",
    }


def _offered(data: dict[str, Any]) -> tuple[Offered, ...]:
    """Return the request's tools, and those that items of its input have added since."""
    offered = _given(data)
    names = {each.tool.name for each in offered}
    for item in data.get("input") or []:
        for each in added_tools(item):
            if each.tool.name not in names:
                names.add(each.tool.name)
                offered.append(each)
    return tuple(offered)


def _given(data: dict[str, Any]) -> list[Offered]:
    return [each for each in data["tools"] if isinstance(each, Offered)]


def _choice(data: dict[str, Any], offered: Sequence[Offered]) -> tuple[Choice, Any]:
    """Join `tool_choice` with LocalAI's list of allowed tools."""
    choice, shown = data.get("tool_choice", (Choice(), "auto"))
    if names := data.get("allowed_tools"):
        if choice.names is not None:
            raise invalid("allowed_tools", "is not possible together with a `tool_choice` that names tools.")
        choice, shown = allowed({"mode": choice.mode, "tools": [{"name": name} for name in names]})
    return named_for_model(choice, offered), shown
