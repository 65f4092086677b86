"""A conversation in the shape that chat templates expect: messages, tools and variables."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from jinja2.exceptions import SecurityError

from localai_flask.chat.conversation import Conversation, Message, ToolCall
from localai_flask.chat.formats import ToolFormat, hermes
from localai_flask.chat.formats.notation import JsonArguments, PairedArguments
from localai_flask.chat.prompt.content_parts import in_parts, wants_parts
from localai_flask.chat.prompt.jinja import render as jinja
from localai_flask.chat.prompt.template_retries import folded, ladder, with_full_tools
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest
from localai_flask.generation import ModelInfo

RETRY_S = 0.5
"""Processor time after which a template that fails gets no second try."""


def render(conversation: Conversation, template: str, tools: ToolFormat | None, variables: Mapping[str, Any]) -> str:
    """Render a conversation; `tools` is how the template's model writes its calls.

    A template that fails gets the same in other shapes, as there are templates that want a call's arguments as text,
    know no system message, or do without tools not at all. Raises `InvalidRequest` with its words on the first.
    """
    # Only few templates tell developer and system apart; to the others it is the same role under its newer name.
    keeps_developer = "developer" in template
    ids = _call_ids(conversation, tools)
    shows_calls = "tool_calls" in template
    parted = wants_parts(template)

    def turns(as_text: bool) -> list[dict[str, Any]]:
        messages = (
            conversation.messages if shows_calls else [_with_calls_said(each, tools) for each in conversation.messages]
        )
        return [_turn(message, keeps_developer, ids, as_text) for message in messages]

    failure: InvalidRequest | None = None
    begun = time.thread_time()
    for concession in ladder(turns(False)):
        messages = turns(concession.text_arguments)
        data = with_full_tools(variables) if concession.full_tools else dict(variables)
        said = folded(messages) if concession.folded else messages
        data["messages"] = [{**turn, "content": in_parts(turn["content"])} for turn in said] if parted else said
        try:
            return jinja.render(template, data)
        except InvalidRequest as error:
            failure = failure or error
            is_bounded = error.__cause__ is None or isinstance(error.__cause__, SecurityError)
            if is_bounded or time.thread_time() - begun > RETRY_S:
                break
    assert failure is not None
    raise failure


def variables(conversation: Conversation, config: ModelConfig, info: ModelInfo) -> dict[str, Any]:
    """Return everything that a chat template may use, except the messages."""
    return {
        **wishes_of(conversation, config),
        "tools": [tool.definition for tool in conversation.tools] or None,
        "documents": None,
        "add_generation_prompt": conversation.opens_answer and not conversation.continued_by,
        "bos_token": info.bos_token,
        "eos_token": info.eos_token,
    }


def wishes_of(conversation: Conversation, config: ModelConfig) -> dict[str, Any]:
    """Lay what the request wants of the template over what the model's YAML wants."""
    wishes: dict[str, Any] = dict(config.chat_template_kwargs)
    disable = config.reasoning.disable
    if disable is not None:
        wishes["enable_thinking"] = not disable
    if effort := conversation.reasoning_effort or config.reasoning_effort:
        wishes["reasoning_effort"] = effort
        # Who disabled thinking in the YAML meant it.
        wishes["enable_thinking"] = effort.lower() != "none" and not disable
    wishes |= conversation.template_kwargs
    if conversation.enable_thinking is not None:
        wishes["enable_thinking"] = conversation.enable_thinking
    elif isinstance(conversation.template_kwargs.get("thinking"), bool):
        wishes.setdefault("enable_thinking", wishes["thinking"])
    if "enable_thinking" in wishes:  # DeepSeek, Kimi and Granite call it by another name than the others
        wishes.setdefault("thinking", wishes["enable_thinking"])
    return wishes


def _call_ids(conversation: Conversation, tools: ToolFormat | None) -> dict[str, str]:
    """Map the ids of all calls to those that the template wants, where it is particular about them."""
    if tools is None or tools.call_id is None:
        return {}
    calls = [call for message in conversation.messages for call in message.tool_calls]
    return {call.id: tools.call_id(call.id, call.name, number) for number, call in enumerate(calls)}


def _turn(message: Message, keeps_developer: bool, ids: Mapping[str, str], as_text: bool) -> dict[str, Any]:
    """Return a message as templates expect it: content is a string, and what is absent has no key."""
    role = "system" if message.role == "developer" and not keeps_developer else message.role
    turn: dict[str, Any] = {"role": role, "content": message.content}
    if message.name:
        turn["name"] = message.name
    if message.reasoning:
        turn["reasoning_content"] = message.reasoning
        if not (message.content and message.tool_calls):  # GPT-OSS's own name for it, which it refuses beside content
            turn["thinking"] = message.reasoning
    if message.tool_call_id:
        turn["tool_call_id"] = ids.get(message.tool_call_id, message.tool_call_id)
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, ids, as_text) for call in message.tool_calls]
    return turn


def _call(call: ToolCall, ids: Mapping[str, str], as_text: bool) -> dict[str, Any]:
    arguments = (call.arguments or "{}") if as_text else _parsed(call.arguments)
    function = {"name": call.name, "arguments": arguments}
    return {"id": ids.get(call.id, call.id), "type": "function", "function": function}


def _parsed(arguments: str) -> Any:
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _with_calls_said(message: Message, tools: ToolFormat | None) -> Message:
    """Put calls into a message's text, as the model wrote them, for a template that has no place for them."""
    if not message.tool_calls:
        return message
    said = _written(message.tool_calls, tools)
    content = "\n".join(filter(None, (message.content, said)))
    return dataclasses.replace(message, content=content, tool_calls=())


def _written(calls: tuple[ToolCall, ...], tools: ToolFormat | None) -> str:
    notation = tools.notation if tools else None
    arguments_are = notation.arguments if notation else None
    is_paired = isinstance(arguments_are, PairedArguments) and not arguments_are.quote
    if notation is None or not (is_paired or isinstance(arguments_are, JsonArguments)):
        return "\n".join(map(hermes.write_call, calls))
    block, form = notation.block, notation.call
    texts = []
    for number, call in enumerate(calls):
        before, between = (part.replace("{number}", str(number)) for part in (form.before, form.between))
        name = msgspec.json.encode(call.name).decode() if form.is_json else call.name
        arguments = call.arguments or "{}"
        if is_paired and isinstance(values := _parsed(arguments), dict):
            arguments = ", ".join(f"{key}={value!r}" for key, value in values.items())
        texts.append(before + name + between + arguments + form.after)
    return block.opening + block.joint.join(texts) + block.closing
