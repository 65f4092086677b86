"""From a conversation to the text that a model reads, and to the way its answer is to be read.

Three ways, in this order: the model's own chat template; the same with the tools explained in the system message, where
the template has no place for them; without any template, each message's text behind the prefix that the YAML's `roles`
gives its role, one after the other.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import msgspec

from localai_flask.chat import jinja
from localai_flask.chat.conversation import Conversation, Message, ToolCall
from localai_flask.chat.formats import TOOL_FORMATS, ToolFormat, hermes
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError
from localai_flask.generation import ModelInfo, Prompt

CHAT_TEMPLATES = ("chat", "chat_message", "function", "multimodal", "reply_prefix")


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """What the model reads, how it writes tool calls (None: it has no tools), and what else ends its answer."""

    prompt: Prompt
    tool_format: ToolFormat | None = None
    stop: tuple[str, ...] = ()


def chat_prompt(conversation: Conversation, config: ModelConfig, info: ModelInfo) -> ChatPrompt:
    """Write the prompt for the model's next turn.

    Raises `ConfigError` for templates in the YAML that this server does not interpret, and `InvalidRequest` if the
    model's template refuses the messages.
    """
    refuse_yaml_templates(config, *CHAT_TEMPLATES)
    conversation = _with_system_prompt(conversation, config.system_prompt)
    template = info.chat_template
    tool_format = TOOL_FORMATS["hermes"] if conversation.tools else None
    if tool_format is not None and not _knows_tools(template, tool_format):
        conversation = _with_tools_explained(conversation)
    text = _plain(conversation, config) if template is None else _templated(conversation, template, info)
    # A model that may call one tool only is stopped where its first call ends.
    stop = (tool_format.closing,) if tool_format is not None and not conversation.parallel_tool_calls else ()
    return ChatPrompt(Prompt(text), tool_format, stop)


def edit_prompt(instruction: str, text: str, config: ModelConfig, info: ModelInfo) -> Prompt:
    """Write the prompt that asks for an edit: one user message with the instruction and, below it, the text."""
    refuse_yaml_templates(config, "edit")
    content = f"{instruction}\n\n{text}" if text else instruction
    return chat_prompt(Conversation(messages=(Message(role="user", content=content),)), config, info).prompt


def completion_prompt(prompt: str | tuple[int, ...], config: ModelConfig) -> Prompt:
    """Take a raw prompt as it is: text, or token ids."""
    refuse_yaml_templates(config, "completion")
    return Prompt(prompt) if isinstance(prompt, str) else Prompt(tokens=list(prompt), add_bos=False)


def refuse_yaml_templates(config: ModelConfig, *names: str) -> None:
    """Raise `ConfigError` naming a template of the YAML that would be needed here."""
    for name in () if config.template.use_tokenizer_template else names:
        if getattr(config.template, name):
            raise ConfigError(
                f"Model {config.name}: `template.{name}` is a Go template, which this version does not interpret; "
                "remove it, or set `template.use_tokenizer_template: true` to use the model's own chat template.",
                param=f"template.{name}",
            )


def _with_system_prompt(conversation: Conversation, system_prompt: str) -> Conversation:
    if not system_prompt or conversation.has_system_message:
        return conversation
    system = Message(role="system", content=system_prompt)
    return dataclasses.replace(conversation, messages=(system, *conversation.messages))


def _knows_tools(template: str | None, tool_format: ToolFormat) -> bool:
    return template is not None and "tools" in template and tool_format.opening in template


def _with_tools_explained(conversation: Conversation) -> Conversation:
    """Put tools, calls and results into the messages' text, for a template that has no place for them."""
    explanation = hermes.explain(conversation.tools, once=not conversation.parallel_tool_calls)
    messages = [_as_plain_turn(message) for message in conversation.messages]
    for index, message in enumerate(messages):
        if message.role in ("system", "developer"):
            messages[index] = dataclasses.replace(message, content=f"{message.content}\n\n{explanation}")
            break
    else:
        messages.insert(0, Message(role="system", content=explanation))
    return dataclasses.replace(conversation, messages=tuple(messages), tools=())


def _as_plain_turn(message: Message) -> Message:
    if message.role == "tool":
        return Message(role="user", content=hermes.write_result(message.content))
    if message.tool_calls:
        parts = [message.content, *map(hermes.write_call, message.tool_calls)]
        return dataclasses.replace(message, content="\n".join(filter(None, parts)), tool_calls=())
    return message


def _templated(conversation: Conversation, template: str, info: ModelInfo) -> str:
    # Only few templates tell developer and system apart; to the others it is the same role under its newer name.
    keeps_developer = "developer" in template
    return jinja.render(
        template,
        {
            **conversation.template_kwargs,
            "messages": [_for_template(message, keeps_developer) for message in conversation.messages],
            "tools": [tool.definition for tool in conversation.tools] or None,
            "documents": None,
            "add_generation_prompt": True,
            "bos_token": info.bos_token,
            "eos_token": info.eos_token,
        },
    )


def _for_template(message: Message, keeps_developer: bool) -> dict[str, Any]:
    """A message as templates expect it: content is always a string, and what is absent has no key."""
    role = "system" if message.role == "developer" and not keeps_developer else message.role
    turn: dict[str, Any] = {"role": role, "content": message.content}
    if message.name:
        turn["name"] = message.name
    if message.reasoning:
        turn["reasoning_content"] = message.reasoning
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        turn["tool_calls"] = [_call_for_template(call) for call in message.tool_calls]
    return turn


def _call_for_template(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _parsed(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _parsed(arguments: str) -> Any:
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _plain(conversation: Conversation, config: ModelConfig) -> str:
    separator = config.template.join_chat_messages_by_character
    turns = []
    for message in map(_as_plain_turn, conversation.messages):
        role = "system" if message.role == "developer" and "developer" not in config.roles else message.role
        turns.append(config.roles.get(role, "") + message.content)
    return ("\n" if separator is None else separator).join(turns)
