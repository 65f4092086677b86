"""The bodies of Anthropic's requests, and the call they become."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.answer.family_words import MESSAGES
from localai_flask.api.anthropic.blocks import read_text
from localai_flask.api.anthropic.history import read_conversation, with_thoughts_cleared
from localai_flask.api.anthropic.options import (
    EFFORTS,
    ContextManagement,
    OutputConfigSchema,
    OutputFormatSchema,
    ThinkingSchema,
    asked_output,
    thinking_wishes_of,
)
from localai_flask.api.anthropic.tools import ToolSchema, shown_tools, tool_changes
from localai_flask.api.anthropic.volatile import without_volatile_lines
from localai_flask.api.conversation.media import media_in
from localai_flask.api.conversation.tool_choice import Choice, asked_by, chosen_tools
from localai_flask.api.request.controls.forms import FormFields, asked_form
from localai_flask.api.request.controls.sampling import OF_SENDER, TIER
from localai_flask.api.request.controls.sampling_fields import (
    MOST_TOKENS,
    SamplingFields,
    Texts,
    TokenLimit,
    asked_sampling,
)
from localai_flask.api.request.controls.thinking import TemplateFields, ThinkingFields, thinking_wishes
from localai_flask.api.request.fields import (
    Either,
    Flag,
    Many,
    Noted,
    Object,
    Refused,
    RequestSchema,
    Text,
    not_empty,
    one_of,
)
from localai_flask.api.request.foreign.translation import ForeignFields
from localai_flask.api.request.parsing import Unsupported
from localai_flask.api.request.waiting import NO_WISHES, ProgressFields, Waiting, waiting_of
from localai_flask.chat.constraints.constraint import Wanted
from localai_flask.chat.conversation import Conversation, Message

TEXT_OR_BLOCKS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}
TOOL_CHOICE = {"oneOf": [{"type": "string", "enum": [*MESSAGES.tool_choices]}, {"type": "object"}]}
TTLS = {"5m": 300, "1h": 3600}
CACHE_CONTROL = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": ["ephemeral"]}, "ttl": {"type": "string", "enum": [*TTLS]}},
}
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
    left_out: tuple[str, ...] = ()
    """The types of tools that a server would have to run."""
    keep_s: int = 0
    """How long the prompt is to stay in the cache; 0: nothing was said of that."""


class ContentField(Either):
    """Text or blocks; read once the role is known."""


class EffortSchema(RequestSchema):
    effort = Text(validate=one_of(*EFFORTS))


class MessageSchema(RequestSchema):
    role = Text(required=True, validate=one_of("user", "assistant", "system"))
    content = ContentField(metadata=TEXT_OR_BLOCKS)
    clear_at = Text(validate=one_of("next_user_message", "never"))
    output_config = Object(EffortSchema)

    @marshmallow.post_load
    def check(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if "content" not in data and data["role"] != "system":
            raise ValidationError({"content": ["is required."]})
        return data


class SystemField(Either):
    """Text or text blocks."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if any(media_in(value).values()):
            raise ValidationError(Unsupported("may have text only; send images and documents in `messages`."))
        return read_text(without_volatile_lines(value))


class ToolChoiceSchema(RequestSchema):
    type = Text(required=True, validate=one_of(*MESSAGES.tool_choices, "tool"))
    name = Text(validate=not_empty())
    disable_parallel_tool_use = Flag()

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Choice:
        if mode := MESSAGES.tool_choice(data["type"]):
            return Choice(mode, once=data.get("disable_parallel_tool_use"))
        if "name" not in data:
            raise ValidationError({"name": ["is required."]})
        return Choice("required", frozenset({data["name"]}), once=True)


class ToolChoiceField(Either):
    """An object, or its type alone, as LocalAI's documentation writes it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return ToolChoiceSchema().load({"type": value} if isinstance(value, str) else value)


class PromptRequest(ForeignFields, TemplateFields):
    """What becomes the prompt: all that tokens are counted of."""

    model = Text()
    messages = Many(fields.Nested(MessageSchema), required=True, validate=not_empty())
    system = SystemField(load_default="", metadata=TEXT_OR_BLOCKS)
    tools = Many(fields.Nested(ToolSchema), load_default=list)
    tool_choice = ToolChoiceField(metadata=TOOL_CHOICE)
    thinking = Object(ThinkingSchema)
    output_config = Object(OutputConfigSchema)
    output_format = Object(OutputFormatSchema)
    context_management = Object(ContextManagement)
    compaction = Refused("is not done by this server; shorten the conversation.")
    thread = Refused("is kept by Anthropic's servers, which this is not.")
    fallbacks = Noted("names other models, for which there is no need here.")
    mcp_servers = Refused(HOSTED)
    container = Refused(HOSTED)
    speed = Noted("is a hint: the model runs as fast as it can.")
    cache_control: fields.Field = Noted("is about the prompt cache, into which nothing goes that is only counted.")
    diagnostics = Noted("is for Anthropic's own servers.")
    user_profile_id = Noted("is for Anthropic's own servers.")
    workspace_id = Noted("is for Anthropic's own servers.")
    inference_geo = Refused("cannot be chosen: the model runs where this server is.", harmless=("global",))

    def call(self, data: dict[str, Any], **more: Any) -> MessagesCall:
        """Make the call from loaded data."""
        messages = read_conversation(data["messages"])
        for keep in data.get("context_management", {}).get("edits", ()):
            messages = with_thoughts_cleared(messages, keep)
        if data["system"]:
            messages.insert(0, Message(role="system", content=data["system"]))
        choice = data.get("tool_choice", Choice())
        left_out = tuple(dict.fromkeys(each.type for each in data["tools"] if each.tool is None))
        shown = shown_tools(data["tools"], tool_changes(data["messages"]), choice.names or ())
        tools = chosen_tools(shown, choice, [f"{kind} {HOSTED}" for kind in left_out])
        config, thinking, wishes = asked_output(data), data.get("thinking", {}), thinking_wishes(data)
        if continues := messages[-1].role == "assistant":
            continues = _is_to_be_continued(messages, thinking, config)
        conversation = Conversation(
            messages=tuple(messages),
            tools=tools,
            parallel_tool_calls=None if choice.once is None else not choice.once,
            continued_by="messages" if continues else "",
            **{**wishes, **thinking_wishes_of(thinking, config)},
        )
        form = config.get("format")
        if form is not None and (other := asked_form(data)) is not None:
            raise ValidationError({other.param: [f"is not possible together with `{form.param}`; send one of them."]})
        wanted = Wanted(
            form=form or asked_form(data),
            must_call=choice.mode == "required",
            asked_by=asked_by(tools, choice, "tools[{}].strict"),
        )
        return MessagesCall(
            model=data.get("model") or None,
            conversation=conversation,
            wanted=wanted,
            shows_thinking=conversation.enable_thinking is not False,
            hides_thoughts=thinking.get("display") == "omitted",
            left_out=left_out,
            **more,
        )


class CountRequest(PromptRequest):
    is_strict = False
    output_format = Noted("changes the answer, not the prompt.")  # type: ignore[assignment]

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> MessagesCall:
        data.pop("output_format", None)
        return self.call(data, asked={})


class MessagesRequest(PromptRequest, ThinkingFields, SamplingFields, FormFields, ProgressFields):
    cache_control = Either(metadata=CACHE_CONTROL)
    max_tokens = TokenLimit(0, f"{MOST_TOKENS[:-1]}, 0: only the prompt is brought into the cache.", required=True)
    stop_sequences = Texts(metadata={"type": "array", "items": {"type": "string"}})
    stream = Flag(load_default=False)
    metadata = Noted(OF_SENDER)
    service_tier = Noted(TIER)

    @marshmallow.post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> MessagesCall:
        asked = asked_sampling(data)
        if "stop_sequences" in data:
            asked["stop"] = (*data["stop_sequences"], *data.get("stop", ()))
        budget = data.get("thinking", {}).get("budget_tokens", 0)
        if 0 < data["max_tokens"] <= budget and "prompt_only" not in asked:
            raise ValidationError({"thinking": {"budget_tokens": ["must be less than `max_tokens`."]}})
        more = {"stream": data["stream"], "waiting": waiting_of(data), "keep_s": _keep_s(original)}
        return self.call(data, asked=asked, **more)


def _keep_s(body: dict[str, Any]) -> int:
    """Return the longest time that a `cache_control` asks for, at any place where Anthropic's API takes one.

    The whole prompt is kept for it, so it does not matter where.
    """
    holders = [body, *_objects(body.get("system")), *_objects(body.get("tools"))]
    for message in _objects(body.get("messages")):
        blocks = _objects(message.get("content"))
        holders += [*blocks, *(inner for block in blocks for inner in _objects(block.get("content")))]
    controls = [holder["cache_control"] for holder in holders if holder.get("cache_control")]
    return max((_ttl(control) for control in controls), default=0)


def _ttl(control: Any) -> int:
    ttl = control.get("ttl") or "5m" if isinstance(control, dict) else None
    if ttl not in TTLS:
        raise ValidationError({"cache_control": {"ttl": [f"must be one of {', '.join(TTLS)}."]}})
    return TTLS[ttl]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


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
