import json

import pytest

from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall
from localai_flask.chat.prompt.prompt import chat_prompt, completion_prompt, edit_prompt
from localai_flask.config.blocks import Template
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest
from localai_flask.generation import ModelInfo

DUMP = "{{ messages | tojson }}|{{ tools | tojson }}"
DUMP_WITH_TOOLS = DUMP + "{# <tool_call> tool_calls #}"
USER = Message(role="user", content="hi")
TOOL = Tool(name="add", description="Adds.", parameters={"type": "object"})
CALL = ToolCall("call_1", "add", '{"a": 1}')


def info(template: str | None) -> ModelInfo:
    return ModelInfo(
        backend="x",
        engine_version="1",
        context_length=1,
        capabilities=frozenset(),
        chat_template=template,
        bos_token="<s>",
    )


def text(conversation: Conversation, jinja: str | None, **config: object) -> str:
    return chat_prompt(conversation, ModelConfig(name="m", **config), info(jinja)).prompt.text  # type: ignore[arg-type]


def test_variables() -> None:
    template = "{{ bos_token }}{{ add_generation_prompt }}{{ tools }}{{ enable_thinking }}{{ messages | length }}"
    conversation = Conversation(messages=(USER,), template_kwargs={"enable_thinking": False, "messages": "mine"})
    assert text(conversation, template) == "<s>TrueNoneFalse1"


def test_messages_and_tools_as_templates_expect_them() -> None:
    messages = (
        Message(role="developer", content="be brief"),
        USER,
        Message(role="assistant", tool_calls=(CALL, ToolCall("", "sub", "not json")), reasoning="hm"),
        Message(role="tool", content="2", tool_call_id="call_1", name="add"),
    )
    got, tools = text(Conversation(messages=messages, tools=(TOOL,)), DUMP_WITH_TOOLS).split("|")
    assert json.loads(got) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "hm",
            "thinking": "hm",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}},
                {"id": "", "type": "function", "function": {"name": "sub", "arguments": "not json"}},
            ],
        },
        {"role": "tool", "content": "2", "name": "add", "tool_call_id": "call_1"},
    ]
    function = {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}
    assert json.loads(tools) == [{"type": "function", "function": function}]


def test_developer_stays_where_the_template_knows_it() -> None:
    conversation = Conversation(messages=(Message(role="developer", content="x"),))
    assert '"developer"' in text(conversation, DUMP + "{# developer #}")


def test_tools_are_explained_to_a_template_without_a_place_for_them() -> None:
    messages = (
        Message(role="system", content="Be kind."),
        USER,
        Message(role="assistant", content="So:", tool_calls=(CALL,)),
        Message(role="tool", content="2"),
    )
    for template in ("{{ messages | tojson }}", DUMP):
        got = json.loads(text(Conversation(messages=messages, tools=(TOOL,)), template).split("|")[0])
        assert [turn["role"] for turn in got] == ["system", "user", "assistant", "user"]
        assert got[0]["content"].startswith("Be kind.\n\n") and '"name": "add"' in got[0]["content"]
        assert got[2] == {
            "role": "assistant",
            "content": 'So:\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
        }
        assert got[3]["content"] == "<tool_response>\n2\n</tool_response>"
    assert json.loads(text(Conversation(messages=(USER,), tools=(TOOL,)), DUMP).split("|")[0])[0]["role"] == "system"


def test_system_prompt_of_the_yaml() -> None:
    config = {"system_prompt": "Be brief."}
    assert json.loads(text(Conversation(messages=(USER,)), DUMP, **config).split("|")[0])[0] == {
        "role": "system",
        "content": "Be brief.",
    }
    own = Conversation(messages=(Message(role="system", content="Be long."), USER))
    assert "brief" not in text(own, DUMP, **config)


def test_without_a_template() -> None:
    talk = Conversation(
        messages=(USER, Message(role="assistant", content="ho"), Message(role="developer", content="x"))
    )
    assert text(talk, None) == "hi\nho\nx"
    assert text(talk, None, roles={"user": "USER: ", "system": "S: "}) == "USER: hi\nho\nS: x"
    assert text(talk, None, template=Template(join_chat_messages_by_character="")) == "hihox"


def test_one_call_at_most_ends_with_the_call() -> None:
    once = Conversation(messages=(USER,), tools=(TOOL,), parallel_tool_calls=False)
    assert chat_prompt(once, ModelConfig(name="m"), info(DUMP)).stop == ("</tool_call>",)
    many = Conversation(messages=(USER,), tools=(TOOL,), parallel_tool_calls=True)
    assert chat_prompt(many, ModelConfig(name="m"), info(DUMP)).stop == ()
    none = chat_prompt(Conversation(messages=(USER,)), ModelConfig(name="m"), info(DUMP))
    assert none.tool_format is None


def test_edit_and_completion() -> None:
    config = ModelConfig(name="m")
    shown = "{{ messages[0].content }}"
    assert edit_prompt("Shout.", "hi", config, info(shown)).prompt.text == "Shout.\n\nhi"
    assert edit_prompt("Shout.", "", config, info(shown)).prompt.text == "Shout."
    assert completion_prompt("raw", config).text == "raw"
    assert completion_prompt((1, 2), config).tokens == [1, 2]


def test_template_that_refuses() -> None:
    with pytest.raises(InvalidRequest, match="no system"):
        text(Conversation(messages=(USER,)), "{{ raise_exception('no system') }}")


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
BEGUN = Conversation(messages=(USER, Message(role="assistant", content="Sure, ")), continued_by="messages")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {
            "template": Template(
                chat_message="<|im_start|>{{.RoleName}}\n{{.Content}}<|im_end|>",
                chat="{{.Input}}\n<|im_start|>assistant\n",
            )
        },
    ],
    ids=["jinja", "go"],
)
def test_the_assistants_last_message_stays_open(config: dict[str, object]) -> None:
    expected = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nSure, "
    assert text(BEGUN, CHATML, **config) == expected
    assert text(BEGUN, None) == "hi\nSure, "


def test_a_template_that_leaves_out_the_last_message_cannot_go_on_with_it() -> None:
    with pytest.raises(InvalidRequest) as refused:
        text(BEGUN, "{{ messages[0].content }}")
    assert refused.value.info.param == "messages" and refused.value.info.code == "unsupported_parameter"


def opened_thought(talk: Conversation, template: str) -> object:
    """Return the marks of the thought with which the answer begins; None if it begins with none."""
    reasoning = chat_prompt(talk, ModelConfig(name="m"), info(template)).reasoning
    return None if reasoning is None else reasoning.opened


@pytest.mark.parametrize(("begun", "opened"), [("<think>\nLet me", True), ("<think>\nSo.\n</think>\n\nA", False)])
def test_thinking_that_a_message_has_begun_goes_on(begun: str, opened: bool) -> None:
    talk = Conversation(messages=(USER, Message(role="assistant", content=begun)), continued_by="messages")
    assert (opened_thought(talk, CHATML) is not None) is opened


def test_thinking_that_a_template_begins_before_the_last_message_goes_on() -> None:
    begins = "{% if m.role == 'assistant' %}<think>{% endif %}"
    template = f"{{% for m in messages %}}[{{{{ m.role }}}}{begins}{{{{ m.content }}}}]{{% endfor %}}"
    assert opened_thought(BEGUN, template) is not None
    asked = Message(role="user", content="What does <think> mean?")
    talk = Conversation(messages=(asked, BEGUN.messages[1]), continued_by="messages")
    assert opened_thought(talk, CHATML) is None


def test_a_prompt_without_the_beginning_of_an_answer() -> None:
    talk = Conversation(messages=(USER,), opens_answer=False)
    assert text(talk, CHATML) == "<|im_start|>user\nhi<|im_end|>\n"
    with pytest.raises(InvalidRequest, match="add_generation_prompt"):
        text(talk, CHATML, template=Template(chat="{{.Input}}"))


@pytest.mark.parametrize("template", ["{% for %}", "{{ ''.__class__.x }}", "{{ raise_exception('no') }}"])
def test_a_template_of_the_request_is_blamed_for_its_faults(template: str) -> None:
    talk = Conversation(messages=(Message(role="user", content="Hi"),), template=template)
    with pytest.raises(InvalidRequest, match="`chat_template` cannot be used: it ") as caught:
        chat_prompt(talk, ModelConfig(name="m"), info(CHATML))
    assert caught.value.info.param == "chat_template"


def test_a_template_of_the_request_takes_the_place_of_all_others() -> None:
    talk = Conversation(messages=(Message(role="user", content="Hi"),), template="<{{ messages[0].content }}>")
    yaml = ModelConfig(name="m", template=Template(chat="never {{.Input}}", chat_message="{{.Content}}"))
    assert chat_prompt(talk, yaml, info(CHATML)).prompt.text == "<Hi>"
    assert chat_prompt(talk, ModelConfig(name="m"), info(None)).prompt.text == "<Hi>"
