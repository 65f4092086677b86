"""From a conversation to the text that a model reads, and to the way its answer is to be read.

Three ways, in this order: the model's own chat template; the same with the tools explained in the system message, where
the template has no place for them; without any template, each message's text behind the prefix that the YAML's `roles`
gives its role, one after the other.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import msgspec

from localai_flask.chat import turns
from localai_flask.chat.conversation import Conversation, Message
from localai_flask.chat.formats import ToolFormat, find_format, hermes
from localai_flask.chat.output import OutputReader
from localai_flask.chat.reasoning import KNOWN_PAIRS, Reasoning, TagPair, opened_by
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError
from localai_flask.generation import ModelInfo, Prompt, SamplingParams

CHAT_TEMPLATES = ("chat", "chat_message", "function", "multimodal", "reply_prefix")


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """What the model reads, and how its answer is to be read.

    `tool_format` is how it writes calls (None: it has no `tools`), `reasoning` how it thinks (None: nothing is taken
    for thinking); with `once`, it may call one tool only.
    """

    prompt: Prompt
    tool_format: ToolFormat | None = None
    reasoning: Reasoning | None = None
    tools: frozenset[str] = frozenset()
    once: bool = False

    @property
    def stop(self) -> tuple[str, ...]:
        """What else ends the answer: for a model that may call once, the end of its first call."""
        end = self.tool_format.call_end if self.once and self.tool_format else ""
        return (end,) if end else ()

    @property
    def opened(self) -> TagPair | None:
        """The thinking that the prompt leaves the model in."""
        return self.reasoning.opened if self.reasoning else None

    @property
    def preserved(self) -> tuple[str, ...]:
        """The markers by which the answer is read; in some vocabularies they are control tokens."""
        calls = self.tool_format.preserved if self.tool_format else ()
        return tuple(dict.fromkeys(calls + (self.reasoning.preserved if self.reasoning else ())))

    def sampling(self, params: SamplingParams) -> SamplingParams:
        """Add to a request's parameters what reading the answer needs."""
        return msgspec.structs.replace(params, stop=(*params.stop, *self.stop), preserved=self.preserved)

    def reader(self) -> OutputReader:
        """Make the reader of one answer."""
        lead = self.tool_format.lead if self.tool_format else ""
        return OutputReader(
            self.tool_format,
            reasoning=self.reasoning,
            tools=self.tools,
            once=self.once,
            lead=lead if self.prompt.text.endswith(lead) else "",
        )


def chat_prompt(conversation: Conversation, config: ModelConfig, info: ModelInfo) -> ChatPrompt:
    """Write the prompt for the model's next turn.

    Raises `ConfigError` for templates in the YAML that this server does not interpret, and `InvalidRequest` if the
    model's template refuses the messages.
    """
    refuse_yaml_templates(config, *CHAT_TEMPLATES)
    conversation = _with_system_prompt(conversation, config.system_prompt)
    names = frozenset(tool.name for tool in conversation.tools)
    known = None if info.chat_template is None else find_format(info.chat_template)
    if names and known is None:
        conversation = _with_tools_explained(conversation)
    if info.chat_template is None:
        text = _plain(conversation, config)
    else:
        text = turns.render(conversation, info.chat_template, known, turns.variables(conversation, config, info))
    tool_format = (known or hermes.FORMAT) if names else None
    return ChatPrompt(Prompt(text), tool_format, _reasoning(text, config), names, not conversation.parallel_tool_calls)


def edit_prompt(instruction: str, text: str, config: ModelConfig, info: ModelInfo) -> ChatPrompt:
    """Write the prompt that asks for an edit: one user message with the instruction and, below it, the text."""
    refuse_yaml_templates(config, "edit")
    content = f"{instruction}\n\n{text}" if text else instruction
    return chat_prompt(Conversation(messages=(Message(role="user", content=content),)), config, info)


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


def _plain(conversation: Conversation, config: ModelConfig) -> str:
    separator = config.template.join_chat_messages_by_character
    turns = []
    for message in map(_as_plain_turn, conversation.messages):
        role = "system" if message.role == "developer" and "developer" not in config.roles else message.role
        turns.append(config.roles.get(role, "") + message.content)
    return ("\n" if separator is None else separator).join(turns)


def _reasoning(prompt: str, config: ModelConfig) -> Reasoning | None:
    options = config.reasoning
    if options.disable:
        return None
    pairs = (*(TagPair(tags.start, tags.end) for tags in options.tag_pairs), *KNOWN_PAIRS)
    opened = None
    if not options.disable_reasoning_tag_prefill:
        opened = opened_by(prompt, pairs, options.thinking_start_tokens)
    return Reasoning(pairs, opened, options.strip_reasoning_only)
