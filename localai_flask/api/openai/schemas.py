"""The bodies of OpenAI's requests, and the calls they become.

A field that we know and cannot honour is refused by name; one that we do not know is ignored.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import marshmallow
from marshmallow import ValidationError, fields

from localai_flask.api.conversation.pairing import UnansweredCalls, UnknownResult, paired
from localai_flask.api.conversation.tool_choice import Choice, asked_by, chosen_tools
from localai_flask.api.openai.calls import ChatCall, CompletionCall, EditCall
from localai_flask.api.openai.messages import MessageSchema, ToolFields, check_readable
from localai_flask.api.request.controls.sampling import (
    MAX_CHOICES,
    MAX_SEQUENCES,
    MAX_TOP_LOGPROBS,
    ClientFields,
    SamplingRequest,
    StreamingRequest,
    TimedFields,
    common,
    invalid,
)
from localai_flask.api.request.controls.sampling_fields import MOST_TOKENS, TEXT_OR_TEXTS, TokenLimit
from localai_flask.api.request.controls.thinking import ThinkingFields, thinking_wishes
from localai_flask.api.request.fields import Either, Flag, Many, Mapping, Noted, Refused, Text, Whole, not_empty
from localai_flask.api.request.foreign.translation import name_of
from localai_flask.chat.constraints.constraint import Wanted
from localai_flask.chat.conversation import Conversation, Message, Tool

MAX_TOKEN_ID = 2**31 - 1
LOGPROBS = {"anyOf": [{"type": "boolean"}, {"type": "integer"}]}
TEXT_ONLY = "asks for audio, but this server speaks text only."


class Logprobs(Either):
    """Whether to return log-probabilities, as chats ask, or for how many alternatives, as completions ask."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool | int:
        if isinstance(value, bool):
            return value
        if not isinstance(value, int) or not 0 <= value <= MAX_TOP_LOGPROBS:
            raise ValidationError(f"must be true, false, or an integer between 0 and {MAX_TOP_LOGPROBS}.")
        return value


def _count(logprobs: bool | int) -> int:
    return 0 if logprobs is True else int(logprobs)


class ChatRequest(StreamingRequest, TimedFields, ThinkingFields, ToolFields, ClientFields):
    messages = Many(fields.Nested(MessageSchema), required=True, validate=not_empty())
    max_completion_tokens = TokenLimit()
    logprobs = Logprobs(load_default=False, metadata=LOGPROBS)
    top_logprobs = Whole(0, MAX_TOP_LOGPROBS)
    add_generation_prompt = Flag(metadata={"description": "false: the prompt ends with the last message."})
    continue_final_message = Flag(
        load_default=False, metadata={"description": "Have the model continue the last message, its own."}
    )
    metadata = Mapping()
    audio = Refused(TEXT_ONLY)
    modalities = Refused(TEXT_ONLY, harmless=(["text"],))
    web_search_options = Refused("asks for a web search, which this server does not do.")
    moderation = Refused("is not done by this server.")
    store = Refused("asks to keep the answer, which only /v1/responses does.")
    verbosity = Noted("is a hint, for which local models have no place; say so in a message.")
    prediction = Noted("could only make the same answer come sooner.")

    @marshmallow.post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> ChatCall:
        shared = common(data)
        if "max_completion_tokens" in data:
            shared["asked"]["max_tokens"] = max(data["max_completion_tokens"], 0)
        if data["logprobs"]:
            shared["asked"]["top_logprobs"] = data.get("top_logprobs", _count(data["logprobs"]))
        elif data.get("top_logprobs"):
            raise invalid("top_logprobs", "needs `logprobs` to be true.")
        metadata = data.get("metadata", {})
        wishes = thinking_wishes(data)
        effort = metadata.get("reasoning_effort", wishes["reasoning_effort"])
        if not isinstance(effort, str):
            raise invalid("metadata", "must have text for `reasoning_effort`.")
        said = _switch(metadata.get("enable_thinking"))
        is_thinking = wishes["enable_thinking"] if said is None else said
        is_legacy = bool(data.get("functions"))
        _check_asked(data["messages"][-1], original)
        field, choice, known = _choice(data)
        try:
            tools = chosen_tools(known, choice)
        except ValidationError as error:
            raise ValidationError({field: error.messages_dict["tool_choice"]}) from None
        parallel = False if choice.once or is_legacy else data.get("parallel_tool_calls")
        continues = data["continue_final_message"]
        if continues:
            _check_continues(data, shared["wanted"])
        conversation = Conversation(
            messages=_paired(data["messages"]),
            tools=tools,
            parallel_tool_calls=parallel,
            metadata=metadata,
            thinking_field=name_of("thinking_budget", original, self.fields) if "thinking_budget" in data else "",
            continued_by="continue_final_message" if continues else "",
            opens_answer=data.get("add_generation_prompt", True),
            **{**wishes, "reasoning_effort": effort, "enable_thinking": is_thinking},
        )
        shared["wanted"] = dataclasses.replace(
            shared["wanted"],
            must_call=choice.mode == "required",
            asked_by=_asked_by(known, choice, field),
        )
        return ChatCall(
            conversation=conversation,
            body=original,
            timings_per_token=data["timings_per_token"],
            is_legacy=is_legacy,
            customs=frozenset(each.tool.name for each in data["tools"] if each.tool and each.type == "custom"),
            left_out=tuple(dict.fromkeys(each.type for each in data["tools"] if each.tool is None)),
            **shared,
        )


def _check_asked(last: Message, original: dict[str, Any]) -> None:
    """Refuse what cannot be read where it is asked now; results of tools do not keep an agent from going on."""
    if last.role == "tool":
        return
    index = len(original["messages"]) - 1
    try:
        check_readable(original["messages"][index].get("content"))
    except ValidationError as error:
        raise ValidationError({"messages": {index: {"content": error.messages}}}) from None


def _paired(messages: list[Message]) -> tuple[Message, ...]:
    try:
        return paired(messages)
    except UnansweredCalls as error:
        problem = f"must be followed by tool messages with the results; there are none for: {error}."
        raise ValidationError({"messages": {error.index: {"tool_calls": [problem]}}}) from None
    except UnknownResult as error:
        field, problem = "name", f"is the result of {str(error)!r}, of which no call stands before it."
        if error.message.tool_call_id:
            field, problem = "tool_call_id", f"{str(error)!r} is not the id of a call before it that has no result yet."
        raise ValidationError({"messages": {error.index: {field: [problem]}}}) from None


def _check_continues(data: dict[str, Any], wanted: Wanted) -> None:
    """Raise `ValidationError` if the last message is none that the model could continue."""
    last = data["messages"][-1]
    if data.get("add_generation_prompt"):
        raise invalid("continue_final_message", "is not possible together with `add_generation_prompt`.")
    if last.role != "assistant" or last.tool_calls:
        raise invalid("continue_final_message", "needs the last of `messages` to be the assistant's, without calls.")
    if wanted.form is not None:
        problem = f"is not possible together with `{wanted.form.param}`, which is for whole answers."
        raise invalid("continue_final_message", problem)


def _choice(data: dict[str, Any]) -> tuple[str, Choice, list[Tool]]:
    """Return the field that chooses among the tools, its choice, and the tools, which may be legacy functions."""
    if not data.get("functions"):
        if "function_call" in data and data["function_call"].mode == "required":
            raise invalid("function_call", "names a function, but there are no `functions`.")
        served = [each.tool for each in data["tools"] if each.tool is not None]
        return "tool_choice", data.get("tool_choice", Choice()), served
    for newer in ("tools", "tool_choice"):
        if data.get(newer):
            raise invalid(newer, "is not possible together with `functions`; send one of them.")
    return "function_call", data.get("function_call", Choice()), data["functions"]


def _asked_by(tools: list[Tool], choice: Choice, field: str) -> str:
    is_legacy = field == "function_call"
    asked = asked_by(tools, choice, "functions[{}].strict" if is_legacy else "tools[{}].function.strict")
    return field if asked == "tool_choice" else asked


def _switch(value: Any) -> bool | None:
    """Read `metadata.enable_thinking`; OpenAI's metadata are text, so LocalAI's clients send "true" and "false"."""
    if value is None or isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise invalid("metadata", "must have true or false for `enable_thinking`.")


class PromptField(Either):
    """Text, token ids, or a list of either."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str | tuple[int, ...], ...]:
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not value:
            raise ValidationError("must be a string, a list of token ids, or a list of those that is not empty.")
        if all(map(_is_token, value)):
            return (tuple(value),)
        return tuple(_prompt(index, entry) for index, entry in enumerate(value))


def _prompt(index: int, value: Any) -> str | tuple[int, ...]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(map(_is_token, value)):
        return tuple(value)
    raise ValidationError({index: ["must be a string or a list of token ids."]})


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKEN_ID


class CompletionRequest(StreamingRequest, TimedFields, ClientFields):
    prompt = PromptField(required=True, metadata=TEXT_OR_TEXTS)
    echo = Flag()
    max_tokens = TokenLimit(0, f"{MOST_TOKENS[:-1]}, 0 with `echo`: only the prompt is told.")
    logprobs = Logprobs(metadata=LOGPROBS)
    best_of = Whole(1, MAX_CHOICES)
    suffix = Text()

    @marshmallow.post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> CompletionCall:
        shared = common(data)
        prompts: tuple[str | tuple[int, ...], ...] = data["prompt"]
        if len(prompts) * max(data.get("n", 1), data.get("best_of", 1)) > MAX_SEQUENCES:
            raise invalid("prompt", f"asks for more than {MAX_SEQUENCES} completions at once.")
        if data.get("logprobs", False) is not False:
            shared["asked"]["top_logprobs"] = _count(data["logprobs"])
        is_empty = data.get("max_tokens") == 0 and not data.get("prompt_only")
        needs_echo = name_of("max_tokens", original, self.fields) if is_empty else ""
        return CompletionCall(
            prompts=prompts,
            timings_per_token=data["timings_per_token"],
            suffix=data.get("suffix") or None,
            echo=data.get("echo"),
            needs_echo=needs_echo,
            best_of=data.get("best_of"),
            **shared,
        )


class Inputs(Either):
    """A text or a list of texts."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise ValidationError("must be a string or a list of strings.")
        return tuple(texts)


class EditRequest(SamplingRequest):
    instruction = Text(required=True, validate=not_empty())
    input = Inputs(load_default=("",), metadata=TEXT_OR_TEXTS)
    stream = Refused("is not possible for edits.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> EditCall:
        shared = common({**data, "stream": False})
        if len(data["input"]) * data.get("n", 1) > MAX_SEQUENCES:
            raise invalid("input", f"asks for more than {MAX_SEQUENCES} edits at once.")
        return EditCall(instruction=data["instruction"], inputs=data["input"], **shared)
