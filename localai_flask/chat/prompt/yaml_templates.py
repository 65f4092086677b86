"""Prompts by the Go templates of a model's YAML, with LocalAI's data and its way of putting a chat together.

Which source of templates counts is decided in prompt.py; the language itself is in localai_flask/gotemplate/.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from localai_flask import gotemplate
from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall
from localai_flask.config.model import ModelConfig

CALLING = "assistant_function_call"
"""A key of `roles` that assistant messages with calls have instead of their own."""

# The structs have the names of LocalAI's fields, since templates know them by these: https://localai.io/advanced/


class Function(msgspec.Struct, frozen=True, rename="lower"):
    """An entry of `.Functions`."""

    Name: str
    Description: str
    Strict: bool
    Parameters: Mapping[str, Any]


class CalledFunction(msgspec.Struct, frozen=True, rename="lower"):
    Name: str
    Arguments: str


class Call(msgspec.Struct, frozen=True, rename={"Index": "index", "ID": "id", "Type": "type"}):
    """An entry of `.FunctionCall`."""

    Index: int
    ID: str
    Type: str
    FunctionCall: CalledFunction = msgspec.field(name="function")


class MessageData(msgspec.Struct, frozen=True, kw_only=True):
    """What `template.chat_message` is rendered with."""

    SystemPrompt: str
    Role: str
    RoleName: str
    FunctionName: str
    Content: str
    MessageIndex: int
    Function: bool
    FunctionCall: list[Call] | dict[str, Any] | None
    LastMessage: bool


class PromptData(msgspec.Struct, frozen=True, kw_only=True):
    """What all the other templates are rendered with."""

    SystemPrompt: str
    SuppressSystemPrompt: bool = False
    Input: str
    Instruction: str = ""
    Functions: list[Function] = []
    MessageIndex: int = 0
    ReasoningEffort: str
    Metadata: Mapping[str, Any] = {}


def apply_to_chats(config: ModelConfig) -> bool:
    """Return whether a model's chats are written by its YAML's templates."""
    template = config.template
    if template.use_tokenizer_template:
        return False
    return bool(template.chat or template.chat_message or template.function)


def mention(config: ModelConfig, field: str, has_tools: bool = False) -> bool:
    """Return whether a field of the data, such as `.SystemPrompt`, stands in one of the templates that a chat uses."""
    template = config.template
    whole = template.function if has_tools and template.function else template.chat
    return f".{field}" in whole or f".{field}" in template.chat_message


def chat_text(conversation: Conversation, config: ModelConfig) -> str:
    """Write a chat; raises `TemplateError` if a template fails."""
    template = config.template
    turns: list[str] = []
    shows_system = False
    last = len(conversation.messages) - 1
    for index, message in enumerate(conversation.messages):
        role = _role(message, config)
        text = ""
        if template.chat_message:
            data = MessageData(
                SystemPrompt=config.system_prompt,
                Role=config.roles.get(role, ""),
                RoleName=role,
                FunctionName=message.name,
                Content=message.content,
                MessageIndex=index,
                Function=bool(conversation.tools) and index == last,
                FunctionCall=_calls(message.tool_calls),
                LastMessage=index == last,
            )
            text = _render("chat_message", template.chat_message, data)
            if not text:
                continue
        else:
            text = plain_turn(message, config)
            shows_system = shows_system or (role == "system" and bool(message.content))
        turns.append(text)
    return _around(joined(turns, config), conversation, config, shows_system)


def completion_text(prompt: str, config: ModelConfig) -> str:
    """Write the prompt of a completion; raises `TemplateError` if the template fails."""
    data = PromptData(SystemPrompt=config.system_prompt, Input=prompt, ReasoningEffort=config.reasoning_effort)
    return _render("completion", config.template.completion, data)


def edit_text(instruction: str, text: str, config: ModelConfig) -> str:
    """Write the prompt of an edit; raises `TemplateError` if the template fails."""
    data = PromptData(
        SystemPrompt=config.system_prompt, Input=text, Instruction=instruction, ReasoningEffort=config.reasoning_effort
    )
    return _render("edit", config.template.edit, data)


def joined(turns: list[str], config: ModelConfig) -> str:
    """Put messages together."""
    separator = config.template.join_chat_messages_by_character
    return ("\n" if separator is None else separator).join(turns)


def plain_turn(message: Message, config: ModelConfig) -> str:
    """Write a message without a template: the prefix of its role, its text, and its calls as JSON."""
    prefix = config.roles.get(_role(message, config), "")
    lines = [prefix + message.content] if message.content else []
    if calls := _calls(message.tool_calls):
        lines.append((f"{prefix} " if prefix else "") + msgspec.json.encode(calls).decode())
    return "\n".join(lines)


def _around(messages: str, conversation: Conversation, config: ModelConfig, shows_system: bool) -> str:
    """Put the template of the whole chat around the messages, if there is one."""
    template = config.template
    kind = "function" if conversation.tools and template.function else "chat"
    source: str = getattr(template, kind)
    if not source:
        return messages
    data = PromptData(
        SystemPrompt=config.system_prompt,
        SuppressSystemPrompt=shows_system,
        Input=messages,
        Functions=[_function(tool) for tool in conversation.tools],
        ReasoningEffort=conversation.reasoning_effort or config.reasoning_effort,
        Metadata=conversation.metadata,
    )
    return _render(kind, source, data)


def _role(message: Message, config: ModelConfig) -> str:
    if message.tool_calls and config.roles.get(CALLING):
        return CALLING
    # Templates and `roles` that do not tell the two apart mean both by the older name.
    if message.role == "developer" and "developer" not in config.roles:
        return "developer" if '"developer"' in config.template.chat_message else "system"
    return message.role


def _calls(calls: tuple[ToolCall, ...]) -> list[Call] | dict[str, Any] | None:
    if not calls:
        return None
    if len(calls) == 1 and not calls[0].id:  # the older `function_call`, which has no id
        return {"name": calls[0].name, "arguments": calls[0].arguments}
    return [
        Call(index, call.id, "function", CalledFunction(call.name, call.arguments)) for index, call in enumerate(calls)
    ]


def _function(tool: Tool) -> Function:
    return Function(tool.name, tool.description, tool.strict, tool.parameters or {})


def _render(kind: str, source: str, data: MessageData | PromptData) -> str:
    return _parsed(source, kind).render(data)


@functools.lru_cache(maxsize=256)
def _parsed(source: str, kind: str) -> gotemplate.Template:
    return gotemplate.parse(source, kind)
