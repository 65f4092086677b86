"""The bodies of Ollama's requests to write something, and the calls they become."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.conversation.tool_choice import Choice, asked_by
from localai_flask.api.ollama.messages import IMAGES, Images, MessageSchema, ToolSchema, read_conversation, user_message
from localai_flask.api.request.controls.forms import FormFields, asked_form
from localai_flask.api.request.controls.sampling import MAX_TOP_LOGPROBS
from localai_flask.api.request.controls.sampling_fields import SamplingFields, asked_sampling
from localai_flask.api.request.controls.thinking import ThinkingFields, thinking_wishes
from localai_flask.api.request.fields import Either, Flag, Many, Mapping, Noted, Refused, Text, Whole
from localai_flask.api.request.foreign import conversions
from localai_flask.api.request.foreign.translation import ForeignFields, name_of
from localai_flask.api.request.waiting import NO_WISHES, ProgressFields, Waiting, waiting_of
from localai_flask.chat.constraints.constraint import Wanted
from localai_flask.chat.conversation import Conversation, Message

NO_IMAGES = "is for models that make images; this server has none."
OPTIONS = "How to sample and for how long, by Ollama's names; all of this server's own are taken there too."
THINK = {"oneOf": [{"type": "boolean"}, {"type": "string"}], "description": "Whether the model thinks, or how much."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What asks for an answer; one to a conversation without messages has the model loaded, or leave."""

    model: str | None
    asked: MappingOf[str, Any]
    conversation: Conversation
    wanted: Wanted
    stream: bool
    waiting: Waiting = NO_WISHES
    num_ctx: int | None = None
    """How many tokens prompt and answer may have together, if that is less than the model takes."""
    truncates: bool = True
    """Whether the oldest turns of a conversation that does not fit are left out."""
    prompt_field: str = "messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateCall(Call):
    """With `raw`, or a suffix, the prompt is what the model reads, and no conversation."""

    prompt: str = ""
    suffix: str | None = None
    raw: bool = False


class Think(Either):
    """A switch, or a level."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return dict(conversions.think(value))


class AnswerRequest(ForeignFields, ThinkingFields, SamplingFields, FormFields, ProgressFields):
    """What both ways to ask have."""

    model = Text()
    stream = Flag(load_default=True)
    options = Mapping(load_default=dict, metadata={"description": OPTIONS})
    num_ctx = Whole(1, metadata={"description": "Tokens that prompt and answer may have, if the model takes more."})
    think = Think(metadata=THINK)
    logprobs = Flag(load_default=False)
    top_logprobs = Whole(0, MAX_TOP_LOGPROBS)
    truncate = Flag(load_default=True, metadata={"description": "false: a conversation that does not fit is refused."})
    shift = Noted("is about a context that is full: the answer ends there.")

    def shared(self, data: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
        """The arguments of `Call` from loaded data, but for the conversation."""
        asked = asked_sampling(data)
        if data["logprobs"]:
            asked["top_logprobs"] = data.get("top_logprobs", 0)
        elif data.get("top_logprobs"):
            raise ValidationError({"top_logprobs": ["needs `logprobs` to be true."]})
        return {
            "model": data.get("model") or None,
            "asked": asked,
            "wanted": Wanted(form=asked_form(data)),
            "stream": data["stream"],
            "waiting": waiting_of(data),
            "num_ctx": data.get("num_ctx"),
            "truncates": data["truncate"],
        }

    def wishes(self, data: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
        """The arguments of `Conversation` about thinking."""
        wishes: dict[str, Any] = thinking_wishes(data) | data.get("think", {})
        if "thinking_budget" in data:
            wishes["thinking_field"] = name_of("thinking_budget", original, self.fields)
        return wishes


class ChatRequest(AnswerRequest):
    messages = Many(fields.Nested(MessageSchema), load_default=list)
    tools = Many(fields.Nested(ToolSchema), load_default=list)
    parallel_tool_calls = Flag()
    system = Text(load_default="", metadata={"description": "The message of the system, if there is none."})

    @marshmallow.post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> Call:
        shared = self.shared(data, original)
        messages, tools = read_conversation(data["messages"]), tuple(data["tools"])
        if data["system"] and messages and not any(message.role == "system" for message in messages):
            messages = (Message(role="system", content=data["system"]), *messages)
        continues = bool(messages) and _is_to_be_continued(messages[-1])
        if continues and shared["wanted"].form is not None:
            field = shared["wanted"].form.param
            raise ValidationError({field: ["is for whole answers, but the last of `messages` has begun this one."]})
        conversation = Conversation(
            messages=messages,
            tools=tools,
            parallel_tool_calls=data.get("parallel_tool_calls"),
            continued_by="messages" if continues else "",
            **self.wishes(data, original),
        )
        asks = asked_by(tools, Choice(), "tools[{}].function.strict")
        shared["wanted"] = Wanted(form=shared["wanted"].form, asked_by=asks)
        return Call(conversation=conversation, **shared)


class GenerateRequest(AnswerRequest):
    prompt = Text(load_default="")
    suffix = Text()
    system = Text(load_default="")
    images = Images(load_default=list, metadata=IMAGES)
    raw = Flag(load_default=False)
    template = Refused("is in Go's language; set it in the model's YAML, or send `raw` with the prompt as it is to be.")
    context = Refused("is the memory of a server that keeps conversations; send them whole to /api/chat.")
    width = Refused(NO_IMAGES)
    height = Refused(NO_IMAGES)
    steps = Refused(NO_IMAGES)

    @marshmallow.post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> GenerateCall:
        is_text = data["raw"] or bool(data.get("suffix"))
        for field in ("system", "images") if is_text else ():
            if data[field]:
                other = "raw" if data["raw"] else "suffix"
                raise ValidationError({field: [f"is not possible together with `{other}`."]})
        messages = [Message(role="system", content=data["system"])] if data["system"] else []
        messages.append(user_message(data["prompt"], data["images"]))
        is_empty = not (data["prompt"] or data["images"] or data.get("suffix"))
        return GenerateCall(
            conversation=Conversation(messages=() if is_empty else tuple(messages), **self.wishes(data, original)),
            prompt=data["prompt"],
            suffix=data.get("suffix") or None,
            raw=data["raw"],
            prompt_field="prompt",
            **self.shared(data, original),
        )


def _is_to_be_continued(last: Message) -> bool:
    return last.role == "assistant" and bool(last.content or last.reasoning) and not last.tool_calls
