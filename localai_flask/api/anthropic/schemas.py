"""The bodies of Anthropic's requests, and the call they become."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.anthropic.blocks import read_messages, read_text
from localai_flask.api.anthropic.turns import check_paired
from localai_flask.api.fields import (
    Decimal,
    Either,
    Flag,
    Many,
    Mapping,
    Noted,
    Object,
    Refused,
    RequestSchema,
    Text,
    Whole,
    not_empty,
    one_of,
)
from localai_flask.api.parsing import Unsupported
from localai_flask.api.waiting import NO_WISHES, ProgressFields, Waiting, waiting_of
from localai_flask.chat.constraints.constraint import Wanted, json_form
from localai_flask.chat.conversation import Conversation, Message, Tool
from localai_flask.generation import Constraint

TEXT_OR_BLOCKS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}
TOOL_CHOICE = {"oneOf": [{"type": "string", "enum": ["auto", "any", "none"]}, {"type": "object"}]}
EFFORTS = ("low", "medium", "high", "xhigh", "max")
HOSTED = "is run by Anthropic's servers, which this is not; leave it out."


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesCall:
    """A request for a message; with `shows_thinking` false, what the model thinks is left out of the answer."""

    model: str | None
    asked: MappingOf[str, Any]
    conversation: Conversation
    wanted: Wanted
    stream: bool = False
    shows_thinking: bool = True
    hides_thoughts: bool = False
    """The thinking is shown as an empty block."""
    waiting: Waiting = NO_WISHES


class ContentField(Either):
    """Text or blocks; read once the role is known."""


class MessageSchema(RequestSchema):
    role = Text(required=True, validate=one_of("user", "assistant", "system"))
    content = ContentField(required=True, metadata=TEXT_OR_BLOCKS)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> list[Message]:
        try:
            return read_messages(data["role"], data["content"])
        except ValidationError as error:
            raise ValidationError({"content": error.messages}) from None


class SystemField(Either):
    """Text or text blocks."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        return read_text(value)


class ToolSchema(RequestSchema):
    type = Text(load_default="custom")
    name = Text(required=True, validate=not_empty())
    description = Text(load_default="")
    input_schema = Mapping()
    strict = Flag(load_default=False)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Tool:
        if data["type"] != "custom":
            raise ValidationError({"type": [Unsupported(f"{data['type']} {HOSTED}")]})
        if "input_schema" not in data:
            raise ValidationError({"input_schema": ["is required."]})
        description, schema = data["description"], data["input_schema"]
        return Tool(name=data["name"], description=description, parameters=schema, strict=data["strict"])


class ToolChoiceSchema(RequestSchema):
    type = Text(required=True, validate=one_of("auto", "any", "none", "tool"))
    name = Text()
    disable_parallel_tool_use = Flag()


class ToolChoiceField(Either):
    """An object, or its type alone, as LocalAI's documentation writes it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return ToolChoiceSchema().load({"type": value} if isinstance(value, str) else value)


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
    format = Object(OutputFormatSchema)


class PromptRequest(RequestSchema):
    """What becomes the prompt: all that tokens are counted of."""

    model = Text()
    messages = Many(fields.Nested(MessageSchema), required=True, validate=not_empty())
    system = SystemField(load_default="", metadata=TEXT_OR_BLOCKS)
    tools = Many(fields.Nested(ToolSchema), load_default=list)
    tool_choice = ToolChoiceField(metadata=TOOL_CHOICE)
    thinking = Object(ThinkingSchema)
    output_config = Object(OutputConfigSchema)
    chat_template_kwargs = Mapping()
    mcp_servers = Refused(HOSTED)
    container = Refused(HOSTED)
    speed = Refused("cannot be chosen here; leave it out.", harmless=("standard",))
    cache_control = Noted("is about the prompt cache, which finds by itself what prompts have in common.")
    diagnostics = Noted("is for Anthropic's own servers.")
    user_profile_id = Noted("is for Anthropic's own servers.")
    workspace_id = Noted("is for Anthropic's own servers.")
    inference_geo = Refused("cannot be chosen: the model runs where this server is.", harmless=("global",))

    def call(self, data: dict[str, Any], **more: Any) -> MessagesCall:
        """Make the call from loaded data."""
        check_paired(data["messages"])
        messages = [message for group in data["messages"] for message in group]
        if data["system"]:
            messages.insert(0, Message(role="system", content=data["system"]))
        choice = data.get("tool_choice", {"type": "auto"})
        tools = _chosen(data["tools"], choice)
        must_call = choice["type"] in ("any", "tool")
        disabled = choice["type"] == "tool" or choice.get("disable_parallel_tool_use")
        config, thinking = data.get("output_config", {}), data.get("thinking", {})
        if continues := messages[-1].role == "assistant":
            continues = _is_to_be_continued(messages, thinking, config)
        conversation = Conversation(
            messages=tuple(messages),
            tools=tools,
            parallel_tool_calls=None if disabled is None else not disabled,
            template_kwargs=data.get("chat_template_kwargs", {}),
            reasoning_effort=config.get("effort", ""),
            enable_thinking=_switch(thinking),
            thinking_budget=thinking.get("budget_tokens"),
            thinking_field="thinking.budget_tokens",
            continued_by="messages" if continues else "",
        )
        wanted = Wanted(form=config.get("format"), must_call=must_call, asked_by=_asked_by(tools, must_call))
        return MessagesCall(
            model=data.get("model") or None,
            conversation=conversation,
            wanted=wanted,
            shows_thinking=thinking.get("type") != "disabled",
            hides_thoughts=thinking.get("display") == "omitted",
            **more,
        )


class CountRequest(PromptRequest):
    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> MessagesCall:
        return self.call(data, asked={})


class MessagesRequest(PromptRequest, ProgressFields):
    max_tokens = Whole(1, required=True)
    stop_sequences = Many(Text(validate=not_empty()))
    stream = Flag(load_default=False)
    temperature = Decimal(0, 100)
    top_k = Whole(0)
    top_p = Decimal(0, 1)
    metadata = Mapping()
    service_tier = Text(validate=one_of("auto", "standard_only"))

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> MessagesCall:
        names = {"max_tokens": "max_tokens", "stop_sequences": "stop"}
        names |= {name: name for name in ("temperature", "top_k", "top_p")}
        asked = {ours: data[theirs] for theirs, ours in names.items() if theirs in data}
        budget = data.get("thinking", {}).get("budget_tokens", 0)
        if budget >= data["max_tokens"]:
            raise ValidationError({"thinking": {"budget_tokens": ["must be less than `max_tokens`."]}})
        return self.call(data, asked=asked, stream=data["stream"], waiting=waiting_of(data))


def _chosen(tools: list[Tool], choice: dict[str, Any]) -> tuple[Tool, ...]:
    kind, names = choice["type"], [tool.name for tool in tools]
    if kind == "none":
        return ()
    if kind in ("any", "tool") and not tools:
        raise ValidationError({"tool_choice": ["asks for a call, but there are no `tools`."]})
    if kind != "tool":
        return tuple(tools)
    if choice.get("name") not in names:
        raise ValidationError({"tool_choice": {"name": ["must be the name of one of the `tools`."]}})
    return tuple(tool for tool in tools if tool.name == choice["name"])


def _asked_by(tools: tuple[Tool, ...], must_call: bool) -> str:
    if must_call:
        return "tool_choice"
    return next((f"tools[{index}].strict" for index, tool in enumerate(tools) if tool.strict), "")


def _is_to_be_continued(messages: list[Message], thinking: dict[str, Any], config: dict[str, Any]) -> bool:
    """Return whether the model continues the assistant's last message; take that away if it is empty."""
    last = messages[-1]
    if not last.content and not last.reasoning and len(messages) > 1:
        messages.pop()
        return False
    if thinking.get("type") == "enabled" and not last.reasoning:
        raise ValidationError({"thinking": ["is not possible for an answer that `messages` has begun without it."]})
    if "format" in config:
        problem = "is for whole answers, but the last of `messages` has begun this one."
        raise ValidationError({"output_config": {"format": [problem]}})
    return True


def _switch(thinking: dict[str, Any]) -> bool | None:
    kind = thinking.get("type")
    if kind == "between_tools":
        raise ValidationError({"thinking": {"type": [Unsupported("between_tools cannot be asked of local models.")]}})
    if kind == "enabled" and "budget_tokens" not in thinking:
        raise ValidationError({"thinking": {"budget_tokens": ["is required."]}})
    return None if kind is None else kind != "disabled"
