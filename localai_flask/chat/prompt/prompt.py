"""From a conversation to the text that a model reads, and to the way its answer is to be read.

The first of these that is there: the Go templates of the model's YAML, or of the file beside the model, unless
`use_tokenizer_template` is set; the model's own chat template; each message's text behind the prefix that the YAML's
`roles` gives its role. Where the template has no place for tools, they are explained in the system message.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from localai_flask.chat.answer import Reader
from localai_flask.chat.conversation import Conversation, Message
from localai_flask.chat.formats import ToolFormat, find_format, hermes
from localai_flask.chat.formats.base import Functions
from localai_flask.chat.formats.configured import configured_format
from localai_flask.chat.images import take_images
from localai_flask.chat.output.reader import OutputReader
from localai_flask.chat.output.reasoning_marks import (
    ENDLESS,
    KNOWN_PAIRS,
    Reasoning,
    TagPair,
    control_tokens,
    left_open,
    opened_by,
    thinking_budget,
)
from localai_flask.chat.output.repeats import DistinctCallsReader
from localai_flask.chat.output.reply_prefix import PrefixedReader
from localai_flask.chat.output.yaml_patterns import NoActionReader, PatternReader
from localai_flask.chat.prompt import prefill, template_data, yaml_templates
from localai_flask.chat.prompt.plain_text import control_names, mark_conversation, unmark
from localai_flask.chat.prompt.shown_calls import shows_several_calls
from localai_flask.config.functions import FunctionOptions
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError, InvalidRequest, UnsupportedParameter
from localai_flask.generation import Constraint, Image, ModelInfo, Prompt, ThinkingBudget
from localai_flask.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompt:
    """What the model reads, and how its answer is to be read.

    `tool_format` is how it writes calls (None: it has no `tools`), `reasoning` how it thinks (None: nothing is taken
    for thinking); with `once`, it may call one tool only. `reply_prefix` is put before what it writes.
    """

    prompt: Prompt
    tool_format: ToolFormat | None = None
    reasoning: Reasoning | None = None
    functions: Functions = field(default_factory=dict)
    once: bool = False
    reply_prefix: str = ""
    reads_thinking: bool = True
    """Whether thinking is told from the answer, of whose text it is a part else."""
    thinking: ThinkingBudget | None = None
    options: FunctionOptions = field(default_factory=FunctionOptions)
    no_action: str = ""
    native: ToolFormat = hermes.FORMAT

    @property
    def stop(self) -> tuple[str, ...]:
        """What else ends the answer: for a model that may call once, the end of its first call."""
        end = self.tool_format.call_end if self.once and self.tool_format else ""
        return (end,) if end else ()

    @property
    def preserved(self) -> tuple[str, ...]:
        """The markers by which the answer is read; in some vocabularies they are control tokens."""
        calls = self.tool_format.preserved if self.tool_format else ()
        return control_tokens(calls + (self.reasoning.preserved if self.reasoning else ()))

    def sampling(self, params: SamplingParams, constraint: Constraint | None = None) -> SamplingParams:
        """Add to a request's parameters what reading the answer needs, and the form that it is held to.

        A constraint knows by itself where the only call ends; without one, a stop string has to do.
        """
        stop = params.stop if constraint is not None else (*params.stop, *self.stop)
        return msgspec.structs.replace(
            params, stop=stop, preserved=self.preserved, constraint=constraint, thinking=self.thinking
        )

    def reader(self) -> Reader:
        """Make the reader of one answer."""
        lead = self.tool_format.lead if self.tool_format else ""
        reasoning = self.reasoning if self.reads_thinking else None
        reader: Reader = OutputReader(
            self.tool_format,
            reasoning=reasoning,
            functions=self.functions,
            once=self.once,
            lead=lead if self.prompt.text.endswith(lead) else "",
        )
        if self.functions and self.options.has_patterns:
            reader = PatternReader(
                OutputReader(reasoning=reasoning), self.options, lambda: OutputReader(self.native, once=self.once)
            )
        if self.functions:
            reader = DistinctCallsReader(reader)
        if self.no_action:
            reader = NoActionReader(reader, self.no_action)
        return PrefixedReader(reader, self.reply_prefix) if self.reply_prefix else reader


def chat_prompt(
    conversation: Conversation, config: ModelConfig, info: ModelInfo, images: Mapping[str, Image] | None = None
) -> ChatPrompt:
    """Write the prompt for the model's next turn; `images` are those that it names.

    Raises `InvalidRequest` with the template's own words if it refuses the messages or fails on them.
    """
    if info.tool_template is not None and conversation.uses_tools:
        info = msgspec.structs.replace(info, chat_template=info.tool_template)
    if conversation.template:
        info = msgspec.structs.replace(info, chat_template=conversation.template)
        own = msgspec.structs.replace(config.template, use_tokenizer_template=True)
        config = msgspec.structs.replace(config, template=own)
    functions = {tool.name: tool.parameters or {} for tool in conversation.tools}
    names = control_names(info.control_tokens)
    conversation = mark_conversation(conversation, names)
    from_yaml = yaml_templates.apply_to_chats(config)
    if not (from_yaml and yaml_templates.mention(config, "SystemPrompt", bool(conversation.tools))):
        conversation = _with_system_prompt(conversation, config.system_prompt)
    known = _tool_format(config, info)
    parallel = _calls_in_parallel(conversation, config, info, known)
    conversation = dataclasses.replace(conversation, parallel_tool_calls=parallel)
    if functions and known is None:
        conversation = _with_tools_explained(conversation)
    if from_yaml and not conversation.opens_answer:
        raise UnsupportedParameter(
            "`add_generation_prompt` cannot be false for this model: the templates of its YAML always begin an answer; "
            "leave it out.",
            param="add_generation_prompt",
        )
    try:
        text, begun = prefill.written(conversation, functools.partial(_written, config, info, known))
    except (ConfigError, InvalidRequest) as error:
        if not conversation.template:
            raise
        said = error.info.message.removeprefix("The model's chat template ")
        raise InvalidRequest(f"`chat_template` cannot be used: it {said}", param="chat_template") from error
    (text, plain), (begun, _) = unmark(text, names), unmark(begun, names)
    text, plain, seen = take_images(text, plain, images or {})
    reasoning = _reasoning(text, config, info, begun)
    if reasoning is not None and conversation.hides_thinking:
        reasoning = dataclasses.replace(reasoning, is_dropped=True)
    configured, native = configured_format(config.function), known or hermes.FORMAT
    budget = _thinking_tokens(conversation, config, info)
    may_think = budget != 0 and template_data.wishes_of(conversation, config).get("enable_thinking") is not False
    if reasoning is not None and not may_think:
        reasoning = dataclasses.replace(reasoning, may_begin=False)
    return ChatPrompt(
        prompt=Prompt(text, plain=plain, images=seen),
        tool_format=(configured or native) if functions or native.frames_text else None,
        reasoning=reasoning,
        functions=functions,
        once=not parallel,
        reply_prefix=config.template.reply_prefix,
        reads_thinking=conversation.reads_thinking,
        thinking=thinking_budget(budget, reasoning, info.chat_template or text, conversation.thinking_budget_message),
        options=config.function,
        no_action=conversation.no_action,
        native=native,
    )


def _thinking_tokens(conversation: Conversation, config: ModelConfig, info: ModelInfo) -> int | None:
    """Return how many tokens the model may think; None if it is left to the model, and nobody can end it meanwhile."""
    budget = config.thinking_budget if conversation.thinking_budget is None else conversation.thinking_budget
    # llama-server's page wants to be able to in all of its chats, and mostly never does.
    is_controlled = conversation.controls_thinking and "end_thinking" in info.capabilities
    return ENDLESS if is_controlled and (budget is None or budget < 0) else budget


def _written(config: ModelConfig, info: ModelInfo, tools: ToolFormat | None, conversation: Conversation) -> str:
    if yaml_templates.apply_to_chats(config):
        return yaml_templates.chat_text(conversation, config)
    if info.chat_template is not None:
        return template_data.render(
            conversation, info.chat_template, tools, template_data.variables(conversation, config, info)
        )
    messages = map(_as_plain_turn, conversation.messages)
    return yaml_templates.joined([yaml_templates.plain_turn(message, config) for message in messages], config)


def edit_prompt(instruction: str, text: str, config: ModelConfig, info: ModelInfo) -> ChatPrompt:
    """Write the prompt that asks for an edit.

    Without a template for edits it is a chat: one user message with the instruction and, below it, the text.
    """
    if config.template.edit:
        names = control_names(info.control_tokens)
        written = yaml_templates.edit_text(names.mark(instruction), names.mark(text), config)
        written, plain = unmark(written, names)
        return ChatPrompt(prompt=Prompt(written, plain=plain), reasoning=_reasoning(written, config, info))
    content = f"{instruction}\n\n{text}" if text else instruction
    return chat_prompt(Conversation(messages=(Message(role="user", content=content),)), config, info)


def completion_prompt(prompt: str | tuple[int, ...], config: ModelConfig, suffix: str | None = None) -> Prompt:
    """Write the prompt of a completion: by the YAML's template, or the text as it is; token ids as they are.

    With a suffix it has no template, as the model's own marks for what is to be filled in take its place.
    """
    if not isinstance(prompt, str):
        return Prompt(tokens=list(prompt), add_bos=False, suffix=suffix)
    if suffix is not None:
        return Prompt(prompt, suffix=suffix)
    return Prompt(yaml_templates.completion_text(prompt, config) if config.template.completion else prompt)


def _tool_format(config: ModelConfig, info: ModelInfo) -> ToolFormat | None:
    """Return how the model is shown its tools and calls; None if its template has no place for them."""
    if yaml_templates.apply_to_chats(config):
        return hermes.FORMAT if yaml_templates.mention(config, "Functions", has_tools=True) else None
    template = info.chat_template
    return None if template is None else find_format(template)


def _calls_in_parallel(
    conversation: Conversation, config: ModelConfig, info: ModelInfo, known: ToolFormat | None
) -> bool:
    """Return whether one turn may have several calls: as the request says, else as the model is shown turns with calls.

    A model whose template has no place for them was not trained to stop after the last one that it needs.
    """
    if conversation.parallel_tool_calls is not None:
        return conversation.parallel_tool_calls
    if configured_format(config.function) is not None:  # a format of the YAML's own says so itself
        return True
    if known is None or yaml_templates.apply_to_chats(config):
        return known is not None
    return info.chat_template is not None and shows_several_calls(info.chat_template)


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


def _reasoning(prompt: str, config: ModelConfig, info: ModelInfo, begun: str = "") -> Reasoning | None:
    """Return how an answer thinks; `begun` is the turn that the prompt has begun, if any.

    Only marks that the model's YAML or its template has begin a thought: another model that writes about them shows
    them as text.
    """
    options = config.reasoning
    if options.disable:
        return None
    own = tuple(TagPair(tags.start, tags.end) for tags in options.tag_pairs)
    own_templates = (text for text in msgspec.structs.astuple(config.template) if isinstance(text, str))
    templates = "\n".join((info.chat_template or "", *own_templates))
    pairs = (*own, *(pair for pair in KNOWN_PAIRS if pair.start in templates or pair.end in templates))
    opened = None
    if not options.disable_reasoning_tag_prefill:
        known = (*own, *KNOWN_PAIRS)
        opened = opened_by(prompt, known, options.thinking_start_tokens) or left_open(begun, known)
    if opened is not None and opened not in pairs:
        pairs = (*pairs, opened)
    is_over = any(prompt.rstrip().endswith(pair.end) for pair in pairs)
    return Reasoning(pairs, opened, options.strip_reasoning_only, may_begin=not is_over)
