"""LocalAI's `function:` block: calls that regular expressions find, keys and frames of its own, the plain answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localai_flask.chat.answer import Answer
from localai_flask.chat.constraints.constraint import Wanted, answer_constraint, with_no_action
from localai_flask.chat.conversation import Conversation, Message, Tool
from localai_flask.chat.formats.configured import configured_format
from localai_flask.chat.prompt.prompt import ChatPrompt, chat_prompt
from localai_flask.config.functions import FunctionGrammar, FunctionOptions, Replacement, Trigger
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError, UnsupportedParameter
from localai_flask.generation import Delta, Finished, FinishReason, ModelInfo, Usage
from tests.unit.test_call_grammar import accepts

TOOL = Tool(
    name="add",
    parameters={
        "type": "object",
        "properties": {"x": {"type": "integer"}, "a": {"type": "integer"}},
        "required": ["x"],
        "additionalProperties": False,
    },
)
INFO = ModelInfo(
    backend="fake",
    engine_version="1",
    context_length=64,
    capabilities=frozenset({"generate", "constrain"}),
    chat_template="{{ messages }}{{ tools }}<tool_call>",
)
TALK = Conversation(messages=(Message(role="user", content="hi"),), tools=(TOOL,))


def chat(options: FunctionOptions, talk: Conversation = TALK) -> ChatPrompt:
    return chat_prompt(talk, ModelConfig(name="m", function=options), INFO)


def read(options: FunctionOptions, text: str, size: int = 0, talk: Conversation = TALK, **end: Any) -> Answer:
    reader, answer = chat(options, talk).reader(), Answer()
    pieces = [text] if not size else [text[at : at + size] for at in range(0, len(text), size)]
    events = [event for piece in pieces for event in reader.feed(Delta(piece))]
    for event in [*events, *reader.finish(Finished(end.get("reason", FinishReason.EOS), Usage(1, 1)))]:
        answer.add(event)
    return answer


def result(answer: Answer) -> tuple[str, list]:
    return answer.content, [(call.name, json.loads(call.arguments)) for call in answer.tool_calls]


ADD = ("add", {"x": 5, "y": 3})
JSON = '{"name": "add", "arguments": {"x": 5, "y": 3}}'
MORE, OTHER = ("add", {"x": 6}), '{"name": "add", "arguments": {"x": 6}}'
TAGS = r"(?s)<tool_call>(.*?)</tool_call>"
CASES: dict[str, tuple[FunctionOptions, str, str, list]] = {
    "response_regex": (
        FunctionOptions(response_regex=(r"(?P<name>\w+)\s*\((?P<arguments>.*)\)",)),
        'add({"x": 5, "y": 3})',
        "",
        [ADD],
    ),
    "no match": (
        FunctionOptions(response_regex=(r"(?P<name>\w+)\((?P<arguments>.*)\)",)),
        "Just text.",
        "Just text.",
        [],
    ),
    "json_regex_match": (FunctionOptions(json_regex_match=(TAGS,)), f"<tool_call>{JSON}</tool_call>", "", [ADD]),
    "second json_regex_match": (
        FunctionOptions(json_regex_match=(TAGS, r"(?s)(.*?)</tool_call>")),
        f"{JSON}</tool_call>",
        "",
        [ADD],
    ),
    "objects and junk": (FunctionOptions(json_regex_match=("no",)), f"a {JSON} b {OTHER} c", "", [ADD, MORE]),
    "argument_regex": (
        FunctionOptions(
            response_regex=(r"(?s)<function=(?P<name>\w+)>(?P<arguments>.*?)</function>",),
            argument_regex=(r"<p=(?P<key>\w+)>(?P<value>.*?)</p>",),
        ),
        "<function=add><p=x>5</p><p=y>3</p></function>",
        "",
        [("add", {"x": "5", "y": "3"})],
    ),
    "replace_function_results": (
        FunctionOptions(replace_function_results=(Replacement(key="'(\\w+)'", value='"${1}"'),)),
        "{'name': 'add', 'arguments': {'x': 5, 'y': 3}}",
        "",
        [ADD],
    ),
    "replace_llm_results": (
        FunctionOptions(replace_llm_results=(Replacement(key="(?s)<scratch>.*?</scratch>"),)),
        "<scratch>x</scratch>Hello",
        "Hello",
        [],
    ),
    "capture_llm_results": (
        FunctionOptions(capture_llm_results=(r"(?s)<say>(.*?)</say>",), json_regex_match=(TAGS,)),
        f"<say> Sure. </say><tool_call>{JSON}</tool_call>",
        "Sure.",
        [ADD],
    ),
    "key names": (
        FunctionOptions(function_name_key="function", function_arguments_key="with"),
        '{"function": "add", "with": {"x": 5, "y": 3}}',
        "",
        [ADD],
    ),
    "the model's own format": (
        FunctionOptions(json_regex_match=("no",)),
        f"Ok\n<tool_call>{JSON}</tool_call>",
        "",
        [ADD],
    ),
    "prefix": (
        FunctionOptions(grammar=FunctionGrammar(prefix="CALL ")),
        f"Now CALL {JSON}",
        "Now",
        [ADD],
    ),
    "list": (FunctionOptions(grammar=FunctionGrammar(parallel_calls=True)), f"[\n{JSON},\n{OTHER}]", "", [ADD, MORE]),
    "mixed": (FunctionOptions(grammar=FunctionGrammar(mixed_mode=True)), f"Well {{x}} {JSON}", "Well {x}", [ADD]),
    "preset": (
        FunctionOptions(xml_format_preset="glm-4.5"),
        "<tool_call>add<arg_key>x</arg_key><arg_value>5</arg_value></tool_call>",
        "",
        [("add", {"x": 5})],
    ),
    "llama3.1": (
        FunctionOptions(grammar=FunctionGrammar(schema_type="llama3.1")),
        '<function=add>{"x": 5, "y": 3}</function>',
        "",
        [ADD],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_found(case: str) -> None:
    options, text, content, calls = CASES[case]
    for size in (0, 1, 3):
        answer = read(options, text, size)
        assert result(answer) == (content, calls)
        assert answer.finish.reason == (FinishReason.TOOL_CALLS if calls else FinishReason.EOS)


def test_length_wins() -> None:
    options, text, *_ = CASES["json_regex_match"]
    assert read(options, text, reason=FinishReason.MAX_TOKENS).finish.reason == FinishReason.MAX_TOKENS


def test_an_expression_has_a_time_limit() -> None:
    options = FunctionOptions(response_regex=(r"(?P<name>(a|aa)+)+$",))
    with pytest.raises(ConfigError, match="took longer"):
        read(options, "a" * 60 + "b")


def constraint_of(options: FunctionOptions, wanted: Wanted = Wanted()):  # noqa: B008  it is frozen
    talk = with_no_action(TALK, wanted, options)
    return talk, answer_constraint(wanted, INFO, talk.tools, chat(options, talk).tool_format)


ONE, OTHER = '{"name": "add", "arguments": {"x": 5}}', '{"name": "add", "arguments": {"x": 5, "a": 1}}'
ANSWER = '{"name": "answer", "arguments": {"message": "Hi"}}'
FORMS: dict[str, tuple[FunctionGrammar, list[str], list[str]]] = {
    "single": (FunctionGrammar(properties_order="name,arguments"), [ONE, ANSWER], [f"{ONE},\n{ONE}", f"[{ONE}]", "Hi"]),
    "parallel": (FunctionGrammar(parallel_calls=True), [ONE, f"[\n{ONE},\n{ONE}]", f"[{ONE}]"], [f"{ONE}{ONE}"]),
    "mixed": (FunctionGrammar(mixed_mode=True), ["Hi", ONE, f"Hi {ONE}"], [ANSWER, f"{ONE} Hi"]),
    "mixed, no text": (FunctionGrammar(mixed_mode=True, no_mixed_free_string=True), ["Hi", ONE], [f"Hi {ONE}"]),
    "text behind": (FunctionGrammar(mixed_mode=True, expect_strings_after_json=True), [f"Hi {ONE} Ho"], [ANSWER]),
    "prefix": (FunctionGrammar(prefix="CALL"), [f"CALL{ONE}"], [ONE]),
    "order": (FunctionGrammar(properties_order="x"), [OTHER], ['{"name": "add", "arguments": {"a": 1, "x": 5}}']),
}


@pytest.mark.parametrize("case", FORMS)
def test_the_grammar_of_the_yaml(case: str) -> None:
    grammar, good, bad = FORMS[case]
    _, constraint = constraint_of(FunctionOptions(grammar=grammar))
    assert [text for text in good if not accepts(constraint, text)] == []
    assert [text for text in bad if accepts(constraint, text)] == []


def test_a_trigger_arms_the_grammar() -> None:
    _, constraint = constraint_of(FunctionOptions(grammar=FunctionGrammar(triggers=(Trigger(word="<call>"),))))
    assert constraint.trigger == "<call>" and accepts(constraint, ONE)


def test_a_plain_answer_is_content() -> None:
    options = FunctionOptions(grammar=FunctionGrammar(properties_order="name"))
    talk, _ = constraint_of(options)
    assert [tool.name for tool in talk.tools] == ["add", "answer"]
    for size in (0, 1):
        answer = read(options, ANSWER, size, talk)
        assert result(answer) == ("Hi", []) and answer.finish.reason == FinishReason.EOS
        assert result(read(options, ONE, size, talk)) == ("", [("add", {"x": 5})])
    assert not constraint_of(FunctionOptions(grammar=options.grammar, disable_no_action=True))[0].no_action
    assert not constraint_of(options, Wanted(must_call=True, asked_by="tool_choice"))[0].no_action


def test_what_expressions_find_cannot_be_enforced() -> None:
    options = FunctionOptions(response_regex=("(?P<name>a)",))
    assert constraint_of(options)[1] is None
    with pytest.raises(UnsupportedParameter, match="regular expressions"):
        constraint_of(options, Wanted(must_call=True, asked_by="tool_choice"))


def test_one_key_for_name_and_arguments_is_a_problem() -> None:
    assert FunctionOptions().problem is None
    problem = FunctionOptions(function_name_key="f", function_arguments_key="f").problem
    assert problem and problem[0] == "function_arguments_key"


def test_every_preset_is_known() -> None:
    for preset in (
        "functionary",
        "qwen3-coder",
        "qwen3.5",
        "glm-4.5",
        "minimax-m2",
        "kimi-k2",
        "apriel-1.5",
        "xiaomi-mimo",
    ):
        assert configured_format(FunctionOptions(xml_format_preset=preset)) is not None, preset
