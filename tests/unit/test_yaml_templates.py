"""Prompts by a YAML's Go templates: LocalAI's data, its way of putting a chat together, and its exact renderings."""

from __future__ import annotations

from typing import Any

import pytest

from localai_flask.chat.answer import Content, Event, Thought
from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall
from localai_flask.chat.prompt.prompt import ChatPrompt, chat_prompt, completion_prompt, edit_prompt
from localai_flask.config.blocks import Template
from localai_flask.config.model import ModelConfig
from localai_flask.generation import Delta, Finished, FinishReason, ModelInfo, Usage
from localai_flask.gotemplate import TemplateError
from tests.unit.test_gotemplate_chat import CHATML, LLAMA3

OWN = "the model's own: {{ messages[0].content }}"
USER = Message(role="user", content="hello")
CALL = ToolCall("call_1", "add", '{"a": "<b>"}')
CALLING = Message(role="assistant", tool_calls=(CALL,))
TOOL = Tool(name="add", description="Adds.", parameters={"type": "object", "properties": {"a": {"type": "string"}}})
DUMP_MESSAGE = (
    "{{.MessageIndex}}|{{.Role}}|{{.RoleName}}|{{.FunctionName}}|{{.Content}}|{{.Function}}|{{.LastMessage}}|"
    "{{if .FunctionCall}}{{toJson .FunctionCall}}{{end}}|{{.SystemPrompt}}"
)


def prompt(*messages: Message, talk: dict[str, Any] | None = None, template: Any = None, **config: Any) -> ChatPrompt:
    info = ModelInfo(backend="x", engine_version="1", context_length=1, capabilities=frozenset(), chat_template=OWN)
    made = ModelConfig(name="m", template=Template(**(template or {})), **config)
    return chat_prompt(Conversation(messages=messages, **(talk or {})), made, info)


def text(*messages: Message, **options: Any) -> str:
    return prompt(*messages, **options).prompt.text


@pytest.mark.parametrize(
    ("template", "message", "rendered"),
    [
        (CHATML, USER, "<|im_start|>user\nhello<|im_end|>"),
        (CHATML, Message(role="system", content="S"), "<|im_start|>system\nS<|im_end|>"),
        (CHATML, Message(role="developer", content="S"), "<|im_start|>system\nS<|im_end|>"),
        (
            CHATML,
            Message(role="tool", content="T"),
            "<|im_start|>tool\n<tool_response>\nT\n</tool_response><|im_end|>",
        ),
        (
            CHATML,
            CALLING,
            '<|im_start|>assistant\n<tool_call>\n[{"index":0,"id":"call_1","type":"function","function":{"name":"add",'
            '"arguments":"{\\"a\\": \\"\\u003cb\\u003e\\"}"}}]\n</tool_call><|im_end|>',
        ),
        (LLAMA3, USER, "<|start_header_id|>user<|end_header_id|>\n\nhello<|eot_id|>"),
        (
            LLAMA3,
            Message(role="assistant", tool_calls=(ToolCall("", "test", "{}"),)),
            '<|start_header_id|>assistant<|end_header_id|>\n\nFunction call:\n{"arguments":"{}","name":"test"}'
            "<|eot_id|>",
        ),
        (
            LLAMA3,
            Message(role="tool", content="T"),
            "<|start_header_id|>tool<|end_header_id|>\n\nFunction response:\nT<|eot_id|>",
        ),
        (
            "{{range .FunctionCall}}{{.Index}} {{.ID}} {{.Type}} {{.FunctionCall.Name}}{{end}}",
            CALLING,
            "0 call_1 function add",
        ),
        (
            '{{index .FunctionCall "name"}}',
            Message(role="assistant", tool_calls=(ToolCall("", "f", "{}"),)),
            "f",
        ),
    ],
)
def test_one_message(template: str, message: Message, rendered: str) -> None:
    assert text(message, template={"chat_message": template}) == rendered


def test_data_of_messages() -> None:
    roles = {"user": "U:", "assistant_function_call": "CALL:"}
    messages = (USER, CALLING, Message(role="tool", content="2", name="add"))
    got = text(*messages, template={"chat_message": DUMP_MESSAGE}, roles=roles, system_prompt="be kind").split("\n")
    assert got[0] == "0|U:|user||hello|false|false||be kind"
    assert got[1].startswith("1|CALL:|assistant_function_call|||false|false|[{")
    assert got[2] == "2||tool|add|2|false|true||be kind"


@pytest.mark.parametrize(
    ("config", "rendered"),
    [
        ({"template": {"chat": "{{.Input}}"}, "roles": {"user": "USER: "}}, "USER: hello\n\nUSER: hello"),
        ({"template": {"chat": "[{{.Input}}]"}}, "[hello\n\nhello]"),
        ({"template": {"chat": "{{.Input}}", "join_chat_messages_by_character": ""}}, "hellohello"),
        ({"template": {"chat_message": "{{if .Content}}<{{.Content}}>{{end}}"}}, "<hello>\n<hello>"),
        ({"template": {"chat": "{{.Input}}", "use_tokenizer_template": True}}, "the model's own: hello"),
        ({"template": {"completion": "{{.Input}}", "edit": "{{.Input}}"}}, "the model's own: hello"),
    ],
)
def test_assembly(config: dict[str, Any], rendered: str) -> None:
    assert text(USER, Message(role="assistant", content=""), USER, **config) == rendered


def test_a_call_without_a_template_for_messages_is_json_behind_the_role() -> None:
    said = Message(role="assistant", content="So", tool_calls=(ToolCall("", "f", "{}"),))
    assert text(said, template={"chat": "{{.Input}}"}, roles={"assistant": "A:"}) == (
        'A:So\nA: {"name":"f","arguments":"{}"}'
    )


def test_system_prompt_is_said_once() -> None:
    say = {"chat": "{{if not .SuppressSystemPrompt}}{{.SystemPrompt}}|{{end}}{{.Input}}"}
    assert text(USER, template=say, system_prompt="be kind") == "be kind|hello"
    system = Message(role="system", content="mine")
    assert text(system, USER, template=say, system_prompt="be kind") == "mine\nhello"
    plain = {"chat": "{{.Input}}"}
    assert text(USER, template=plain, system_prompt="be kind") == "be kind\nhello"
    assert text(system, USER, template=plain, system_prompt="be kind") == "mine\nhello"


def test_tools_reach_the_template_that_shows_them() -> None:
    each = "{{range .Functions}}{{.Name}}: {{.Description}} {{toJson .Parameters}}{{end}}"
    function = each + " {{toJson .Functions}}\n{{.Input}}"
    templates = {"chat": "no tools: {{.Input}}", "function": function}
    schema = '{"properties":{"a":{"type":"string"}},"type":"object"}'
    with_tools = prompt(USER, talk={"tools": (TOOL,)}, template=templates)
    listed = f'[{{"name":"add","description":"Adds.","strict":false,"parameters":{schema}}}]'
    assert with_tools.prompt.text == f"add: Adds. {schema} {listed}\nhello"
    assert with_tools.tool_format is not None and with_tools.tool_format.name == "hermes"
    assert text(USER, template=templates) == "no tools: hello"


def test_tools_are_explained_where_no_template_shows_them() -> None:
    got = text(USER, CALLING, talk={"tools": (TOOL,)}, template={"chat": "{{.Input}}"})
    assert '"name": "add"' in got
    assert got.endswith('<tool_call>\n{"name": "add", "arguments": {"a": "<b>"}}\n</tool_call>')


def test_data_of_the_whole() -> None:
    template = {"chat": "{{.ReasoningEffort}} {{.Metadata.who}} {{.MessageIndex}} {{len .Functions}} {{.Input}}"}
    talk = {"reasoning_effort": "high", "metadata": {"who": "me"}}
    assert text(USER, talk=talk, template=template, reasoning_effort="low") == "high me 0 0 hello"
    assert text(USER, template={"chat": "{{.ReasoningEffort}}"}, reasoning_effort="low") == "low"


def test_completions_and_edits() -> None:
    config = ModelConfig(
        name="m",
        system_prompt="S",
        template=Template(completion="{{.SystemPrompt}} {{.Input}} ->", edit="{{.Instruction}}: {{.Input}}"),
    )
    assert completion_prompt("once", config).text == "S once ->"
    assert completion_prompt((1, 2), config).tokens == [1, 2]
    info = ModelInfo(backend="x", engine_version="1", context_length=1, capabilities=frozenset())
    assert edit_prompt("Shout", "hi", config, info).prompt.text == "Shout: hi"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"chat": "{{.Input"}, "'chat', line 1"),
        ({"chat": "a\n{{.Nonsense}}"}, "'chat', line 2: .*Nonsense"),
        ({"chat_message": '{{fail "no thanks"}}'}, "'chat_message', line 1: .*no thanks"),
        ({"chat": "{{range 99999999}}{{range 99999999}}{{end}}{{end}}"}, "steps"),
        ({"chat": "{{env `HOME`}}"}, "nothing but its data"),
    ],
)
def test_a_template_error_is_the_answer(template: dict[str, str], said: str) -> None:
    with pytest.raises(TemplateError, match=said) as error:
        text(USER, template=template)
    assert error.value.info.status == 400


def test_reply_prefix_is_read_before_the_text() -> None:
    def events(prefix: str, ending: str = "") -> list[Event]:
        made = prompt(USER, template={"chat": "{{.Input}}" + ending, "reply_prefix": prefix}).reader()
        said = [event for piece in ("hm</think>", "yes") for event in made.feed(Delta(piece))]
        return (said + made.finish(Finished(FinishReason.EOS, Usage(1, 1))))[:-1]

    for prefix, ending in (("<think>\n", ""), ("<think>\n", "<think>\n"), ("", "<think>\n")):
        assert events(prefix, ending) == [Thought("hm"), Content("yes")]
    plain = prompt(USER, template={"chat": "{{.Input}}", "reply_prefix": "Sure: "}).reader()
    assert plain.feed(Delta("x")) == [Content("Sure: x")]
