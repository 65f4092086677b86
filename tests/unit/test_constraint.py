"""What a request asks of its answer's form, as the one constraint that goes to the engine."""

from __future__ import annotations

import json

import msgspec
import pytest

from localai_flask.chat.constraints.constraint import Wanted, answer_constraint, json_form, with_no_action
from localai_flask.chat.conversation import Conversation, Tool
from localai_flask.chat.formats import TOOL_FORMATS, ToolFormat
from localai_flask.chat.output.reasoning_marks import Reasoning, TagPair
from localai_flask.config.functions import FunctionOptions
from localai_flask.errors import InvalidRequest, UnsupportedParameter
from localai_flask.generation import Constraint, ModelInfo

HERMES = TOOL_FORMATS["hermes"]
OTHER = ToolFormat("odd", ())
WEATHER = Tool(name="get_weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})
CLOCK = Tool(name='what "time"')
FORM = json_form({"type": "null"}, "response_format")
THINK = TagPair("<think>", "</think>")


def info(*capabilities: str) -> ModelInfo:
    return ModelInfo(
        backend="fake", engine_version="1", context_length=64, capabilities=frozenset({"generate", *capabilities})
    )


ABLE, UNABLE = info("constrain"), info()


def test_an_answer_of_which_nothing_is_asked_is_free():
    assert answer_constraint(Wanted(), ABLE) is None
    assert answer_constraint(Wanted(), ABLE, reasoning=Reasoning((THINK,), THINK)) is None


def test_a_form_alone_is_passed_on():
    assert answer_constraint(Wanted(form=FORM), ABLE) == FORM


def test_an_engine_that_takes_schemas_alone_gets_the_form_without_a_thought_or_none_at_all():
    schemas_alone = msgspec.structs.replace(ABLE, constraints=frozenset({"json_schema"}))
    wanted, thinker = Wanted(form=FORM), Reasoning((THINK,))
    assert answer_constraint(wanted, ABLE, reasoning=thinker).kind == "lark"
    assert answer_constraint(wanted, schemas_alone, reasoning=thinker) == FORM
    with pytest.raises(UnsupportedParameter, match="`response_format` asks for a form that the fake backend cannot"):
        answer_constraint(wanted, schemas_alone, reasoning=Reasoning((THINK,), THINK))
    assert answer_constraint(Wanted(), schemas_alone, [WEATHER], HERMES) is None
    with pytest.raises(UnsupportedParameter, match="tool_choice"):
        answer_constraint(Wanted(must_call=True, asked_by="tool_choice"), schemas_alone, [WEATHER], HERMES)


def test_with_tools_a_call_is_bound_from_its_marker_on():
    constraint = answer_constraint(Wanted(), ABLE, [WEATHER, CLOCK], HERMES)
    assert constraint is not None and constraint.trigger == "<tool_call>"
    schemas = [json.loads(part.text) for part in constraint.parts.values()]
    assert schemas[0]["properties"] == {"city": {"type": "string"}}
    assert schemas[1]["properties"] == {} and schemas[1]["additionalProperties"] is False


@pytest.mark.parametrize("once", [True, False])
def test_a_forced_call_binds_the_whole_answer(once):
    wanted = Wanted(must_call=True, asked_by="tool_choice")
    constraint = answer_constraint(wanted, ABLE, [WEATHER], HERMES, once=once)
    assert constraint is not None and constraint.trigger is None
    assert accepts(constraint, CALL) and accepts(constraint, CALL + CALL) != once


def test_a_form_and_tools_are_alternatives():
    constraint = answer_constraint(Wanted(form=FORM), ABLE, [WEATHER], HERMES)
    assert constraint is not None and constraint.trigger is None
    assert constraint.text.startswith("start: @form | calls")
    assert constraint.parts["form"] == FORM


def test_a_forced_call_leaves_no_place_for_a_form():
    wanted = Wanted(form=FORM, must_call=True, asked_by="tool_choice")
    constraint = answer_constraint(wanted, ABLE, [WEATHER], HERMES)
    assert constraint is not None and "form" not in constraint.parts


@pytest.mark.parametrize(
    "wanted", [Wanted(form=FORM), Wanted(must_call=True, asked_by="tool_choice"), Wanted(asked_by="tools[0].strict")]
)
def test_what_cannot_be_enforced_is_refused_by_name(wanted):
    with pytest.raises(UnsupportedParameter, match="the fake backend") as caught:
        answer_constraint(wanted, UNABLE, [WEATHER], HERMES)
    assert caught.value.info.param == wanted.field
    with pytest.raises(UnsupportedParameter, match=OTHER.name) as caught:
        answer_constraint(wanted, ABLE, [WEATHER], OTHER)
    assert caught.value.info.param == wanted.field


def test_calls_that_nobody_wants_enforced_stay_possible_without():
    assert answer_constraint(Wanted(), UNABLE, [WEATHER], HERMES) is None
    assert answer_constraint(Wanted(), ABLE, [WEATHER], OTHER) is None


def test_a_grammar_and_tools_do_not_go_together():
    wanted = Wanted(form=Constraint("gbnf", 'root ::= "a"', "grammar"))
    with pytest.raises(InvalidRequest, match="`grammar` is not possible together with `tools`"):
        answer_constraint(wanted, ABLE, [WEATHER], HERMES)


def test_parameters_must_be_an_object():
    with pytest.raises(InvalidRequest, match="must be a schema of type object"):
        answer_constraint(Wanted(), ABLE, [Tool(name="f", parameters={"type": "string"})], HERMES)


def compiled(constraint: Constraint):
    """A matcher over bytes, as llguidance has one without a model's vocabulary."""
    llguidance = pytest.importorskip("llguidance")
    from llguidance import LLMatcher, LLTokenizer

    grammars = [{"name": "answer", "lark_grammar": constraint.text}]
    for name, part in constraint.parts.items():
        kind = {"json_schema": json.loads(part.text)} if part.kind == "json_schema" else {"lark_grammar": part.text}
        grammars.append({"name": name, **kind})
    tokenizer = LLTokenizer("byte")
    matcher = LLMatcher(tokenizer, json.dumps({"grammars": grammars}))
    assert not matcher.is_error(), (llguidance, matcher.get_error())
    return tokenizer, matcher


def accepts(constraint: Constraint | None, text: str) -> bool:
    assert constraint is not None
    tokenizer, matcher = compiled(constraint)
    tokens = tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
TIME = '<tool_call>{"name": "what \\"time\\"", "arguments": {}}</tool_call>'


@pytest.mark.parametrize(
    ("wanted", "opened", "once", "good", "bad"),
    [
        (
            Wanted(must_call=True, asked_by="tool_choice"),
            None,
            False,
            [CALL, TIME, f"{CALL}\n{TIME}"],
            ["", "Hello", f"Hello {CALL}", CALL.replace('"Oslo"', "3"), CALL.replace("get_", "set_"), CALL[:-1]],
        ),
        (Wanted(must_call=True, asked_by="tool_choice"), None, True, [CALL], [f"{CALL}\n{TIME}"]),
        (Wanted(form=FORM), None, False, ["null", CALL], ["Hello", "nullnull", f"null{CALL}"]),
        (
            Wanted(must_call=True, asked_by="tool_choice"),
            THINK,
            False,
            [f"Well,\n</think>\n\n{CALL}", f"</think>{CALL}{TIME}"],
            [CALL, "Well,", "Well,</think>\n", f"a</think>b</think>{CALL}"],
        ),
        (Wanted(form=FORM), THINK, False, ["Hm.</think>\nnull", f"Hm.</think>{CALL}"], ["null", "Hm.</think>Hello"]),
    ],
)
def test_what_the_grammars_accept(wanted, opened, once, good, bad):
    constraint = answer_constraint(
        wanted, ABLE, [WEATHER, CLOCK], HERMES, opened and Reasoning((opened,), opened), once
    )
    assert [text for text in good if not accepts(constraint, text)] == []
    assert [text for text in bad if accepts(constraint, text)] == []


def test_a_form_behind_thinking():
    constraint = answer_constraint(Wanted(form=FORM), ABLE, reasoning=Reasoning((THINK,), THINK))
    assert accepts(constraint, "Well…\n</think>\n\nnull")
    assert not accepts(constraint, "null")


def test_what_follows_a_marker():
    constraint = answer_constraint(Wanted(), ABLE, [WEATHER, CLOCK], HERMES)
    assert accepts(constraint, CALL.removeprefix("<tool_call>"))
    assert not accepts(constraint, " Hello")


def test_a_tool_of_the_clients_is_not_taken_for_the_pseudo_function():
    own = Tool(name="answer", parameters={"type": "object", "properties": {}})
    talk = Conversation(messages=(), tools=(own,))
    held = with_no_action(talk, Wanted(), FunctionOptions(function_name_key="function"))
    assert held.no_action not in {"", "answer"} and [tool.name for tool in held.tools] == ["answer", held.no_action]
