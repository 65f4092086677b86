"""What reaches a chat template besides the messages' words: wishes about thinking, ids of calls, arguments."""

from __future__ import annotations

import pytest

from localai_flask.chat.answer import Answer
from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall
from localai_flask.chat.output.reasoning_marks import TagPair
from localai_flask.chat.prompt.prompt import ChatPrompt, chat_prompt
from localai_flask.config.blocks import ReasoningOptions, Template, ThinkingTags
from localai_flask.config.model import ModelConfig
from localai_flask.generation import Delta, Finished, FinishReason, ModelInfo, Usage
from localai_flask.sampling_params import SamplingParams

USER = Message(role="user", content="hi")
SHOW = "{{ enable_thinking }},{{ thinking }},{{ reasoning_effort }}"
CALLS = (
    "{# tools %s #}{%% for m in messages %%}{%% for c in m.tool_calls %%}{{ c.id }} {%% endfor %%}{{ m.tool_call_id }} "
)
CALLS += "{%% endfor %%}"


def prompt(
    template: str, config: ModelConfig | None = None, tool_template: str | None = None, **conversation: object
) -> ChatPrompt:
    info = ModelInfo(
        backend="x",
        engine_version="1",
        context_length=1,
        capabilities=frozenset(),
        chat_template=template,
        tool_template=tool_template,
    )
    talk = Conversation(**{"messages": (USER,), **conversation})  # type: ignore[arg-type]
    return chat_prompt(talk, config or ModelConfig(name="m"), info)


def read(chat: ChatPrompt, text: str) -> tuple[str, str]:
    """Return the content and the thoughts of an answer to a prompt."""
    reader, answer = chat.reader(), Answer()
    for event in [*reader.feed(Delta(text)), *reader.finish(Finished(FinishReason.EOS, Usage(1, 1)))]:
        answer.add(event)
    return answer.content, answer.reasoning


def yaml(**keys: object) -> ModelConfig:
    disable = keys.pop("disable", None)
    return ModelConfig(name="m", reasoning=ReasoningOptions(disable=disable), **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "request_", "shown"),
    [
        (yaml(), {}, ",,"),
        (yaml(disable=True), {}, "False,False,"),
        (yaml(disable=False), {}, "True,True,"),
        (yaml(reasoning_effort="none"), {}, "False,False,none"),
        (yaml(reasoning_effort="low"), {"reasoning_effort": "high"}, "True,True,high"),
        (yaml(disable=True), {"reasoning_effort": "high"}, "False,False,high"),
        (yaml(chat_template_kwargs={"enable_thinking": True}), {"reasoning_effort": "none"}, "False,False,none"),
        (yaml(chat_template_kwargs={"reasoning_effort": "low"}), {}, ",,low"),
        (yaml(disable=True), {"template_kwargs": {"enable_thinking": True}}, "True,True,"),
        (yaml(), {"template_kwargs": {"thinking": True}, "enable_thinking": False}, "False,True,"),
        (yaml(disable=True), {"enable_thinking": True}, "True,True,"),
    ],
)
def test_who_decides_about_thinking(config: ModelConfig, request_: dict, shown: str) -> None:
    assert prompt(SHOW, config, **request_).prompt.text == shown


def test_ids_of_calls_as_templates_want_them() -> None:
    call = ToolCall("call_0123", "add", "{}")
    talk = (USER, Message(role="assistant", tool_calls=(call,)), Message(role="tool", tool_call_id="call_0123"))
    first, second = prompt(CALLS % "[TOOL_CALLS]", messages=talk).prompt.text.split()
    assert first == second and len(first) == 9 and first.isalnum()
    kept = ToolCall("abcDEF123", "add", "{}")
    assert prompt(CALLS % "[TOOL_CALLS]", messages=(Message(role="assistant", tool_calls=(kept,)),)).prompt.text == (
        "abcDEF123  "
    )
    kimi = prompt(CALLS % "<|tool_calls_section_begin|>", messages=talk).prompt.text.split()
    assert kimi == ["functions.add:0"] * 2
    assert prompt(CALLS % "<tool_call>", messages=talk).prompt.text.split() == ["call_0123"] * 2


def test_a_template_for_tools_is_used_where_there_are_some() -> None:
    called = Message(role="assistant", tool_calls=(ToolCall("1", "add", "{}"),))
    for conversation, text in (
        ({}, "plain"),
        ({"tools": (Tool(name="add"),)}, "tools"),
        ({"messages": (called,)}, "tools"),
    ):
        assert prompt("plain", tool_template="tools{# tools tool_calls #}", **conversation).prompt.text == text


def test_arguments_as_text_for_templates_that_join_them() -> None:
    talk = (Message(role="assistant", tool_calls=(ToolCall("1", "add", '{"a": 1}'),)),)
    joins = "{{ '>' + messages[0].tool_calls[0].function.arguments }}"
    assert prompt(joins, messages=talk).prompt.text == '>{"a": 1}'


def test_what_the_reader_needs_reaches_the_engine() -> None:
    tools = (Tool(name="add"),)
    chat = prompt("{{ tools }}<|tool_call_start|>", tools=tools, parallel_tool_calls=False)
    params = chat.sampling(SamplingParams(stop=("x",)))
    assert params.stop == ("x", "<|tool_call_end|>")
    assert {"<|tool_call_start|>", "<|tool_call_end|>"} == set(params.preserved)
    assert "<|tool_call_start|>" not in prompt("{{ tools }}<|tool_call_start|>").preserved
    assert {"<think>", "</think>"} == set(prompt("{{ messages[0].content.split('</think>') }}").preserved)


def test_only_marks_that_a_template_knows_begin_a_thought() -> None:
    text = "Models write\n<think>\nbefore they answer."
    for template, thoughts in (("{{ messages[0].content }}", ""), ("{# <think> #}", "")):
        assert read(prompt(template), text) == (text, thoughts)
    assert read(prompt("{# <think> #}"), "<think>\nSo.\n</think>\nYes.") == ("Yes.", "So.")
    own = ModelConfig(name="m", reasoning=ReasoningOptions(tag_pairs=(ThinkingTags(start="<mull>", end="</mull>"),)))
    assert read(prompt("{{ messages[0].content }}", own), "<mull>So.</mull>Yes.") == ("Yes.", "So.")
    template = Template(chat="{{.Input}}{{/* <think> */}}")
    assert read(prompt("", ModelConfig(name="m", template=template)), "<think>So.</think>Yes.") == ("Yes.", "So.")


def test_thinking_that_the_template_opens() -> None:
    opens = "{{ messages[0].content }}<think>\n"
    opened = prompt(opens).reasoning
    assert opened is not None and opened.opened == TagPair("<think>", "</think>")
    for options in (ReasoningOptions(disable_reasoning_tag_prefill=True), ReasoningOptions(disable=True)):
        reasoning = prompt(opens, ModelConfig(name="m", reasoning=options)).reasoning
        assert reasoning is None or reasoning.opened is None
    own = ReasoningOptions(tag_pairs=(ThinkingTags(start="<r>", end="</r>"),), thinking_start_tokens=("<go>",))
    config = ModelConfig(name="m", reasoning=own)
    for template, pair in (("x<r>", TagPair("<r>", "</r>")), ("x<go>\n", TagPair("<go>", "</r>"))):
        reasoning = prompt(template, config).reasoning
        assert reasoning is not None and reasoning.opened == pair


def test_what_templates_without_a_place_for_it_still_get_to_read() -> None:
    talk = (Message(role="system", content="S"), USER, USER)
    strict = "{% if messages | length > 1 %}{{ raise_exception('no') }}{% endif %}"
    strict += "{{ messages[0].role }}:{{ messages[0].content }}"
    assert prompt(strict, messages=talk).prompt.text == "user:S\n\nhi\n\nhi"
    called = Message(role="assistant", content="So", tool_calls=(ToolCall("1", "f", '{"a": true}'),))
    last = "{{ messages[-1].content }}"
    assert prompt(last, messages=(USER, called)).prompt.text == (
        'So\n<tool_call>\n{"name": "f", "arguments": {"a": true}}\n</tool_call>'
    )
    pythonic = "{# tools <|tool_call_start|> #}" + last
    assert (
        prompt(pythonic, messages=(USER, called)).prompt.text == "So\n<|tool_call_start|>[f(a=True)]<|tool_call_end|>"
    )
    numbered = "{# tools <|START_ACTION|> tool_name #}" + last
    written = '{"tool_call_id": "0", "tool_name": "f", "parameters": {"a": true}}'
    assert written in prompt(numbered, messages=(USER, called)).prompt.text


def test_tools_for_careless_templates() -> None:
    assert prompt("{% for t in tools %}{{ t }}{% endfor %}ok").prompt.text == "ok"
    described = (
        "{% for t in tools %}{{ t.function.parameters.properties.x.description + '!' }}{% endfor %}{# <tool_call> #}"
    )
    tool = Tool(name="f", parameters={"properties": {"x": {"type": "string"}}})
    assert prompt(described, tools=(tool,)).prompt.text == "!"
