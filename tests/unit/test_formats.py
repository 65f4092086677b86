"""Recorded outputs of each family's tool calls and thinking, cut at every character, and how formats are found."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localai_flask.chat.answer import Answer, Content, Event, Thought, ToolArguments, ToolCallStart
from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall
from localai_flask.chat.formats import TOOL_FORMATS, find_format
from localai_flask.chat.output.reader import OutputReader
from localai_flask.chat.output.reasoning_marks import KNOWN_PAIRS, Reasoning, TagPair, opened_by
from localai_flask.chat.prompt.template_data import render, variables
from localai_flask.config.model import ModelConfig
from localai_flask.generation import Delta, Finished, FinishReason, ModelInfo, Usage

TOOLS = frozenset({"add", "now", "f"})
ADD = ("add", {"a": 1})
NOW = ("now", {})
HARD = ("f", {"x": '}"</tool_call>\n京都 😀 ', "n": None, "l": [1, {"k": True}]})
HARD_JSON = json.dumps(HARD[1], ensure_ascii=False)
FULLWIDTH = "｜DSML｜"

CASES: dict[str, tuple[str, str, str, list]] = {
    # name: format, text, content, calls
    "hermes list": ("hermes", '<tool_call>[{"name": "add", "arguments": {"a": 1}}]</tool_call>', "", [ADD]),
    "qwen3-coder": (
        "qwen3-coder",
        "Sure.\n<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=now>\n</function>\n</tool_call>",
        "Sure.",
        [ADD, NOW],
    ),
    "qwen3-coder, no opening": (
        "qwen3-coder",
        "<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
        "",
        [ADD],
    ),
    "qwen3-coder, markers in a value": (
        "qwen3-coder",
        "<tool_call>\n<function=f>\n<parameter=x>\nif a < b:\n  </tool_call>\n\n</parameter>\n</function>\n"
        "</tool_call>!",
        "!",
        [("f", {"x": "if a < b:\n  </tool_call>\n"})],
    ),
    "qwen3-coder, prose": ("qwen3-coder", "A <tool_call> and <function= b", "A <tool_call> and <function= b", []),
    "glm": (
        "glm",
        "\n<tool_call>f\n<arg_key>x</arg_key>\n<arg_value>a </tool_call> b</arg_value>\n<arg_key>n</arg_key>\n"
        "<arg_value>[1, 2]</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
        "",
        [("f", {"x": "a </tool_call> b", "n": [1, 2]}), NOW],
    ),
    "glm, json inside": ("glm", 'x <tool_call>{"name": 1}</tool_call>', 'x <tool_call>{"name": 1}</tool_call>', []),
    "minimax": (
        "minimax",
        'Hm.\n<minimax:tool_call>\n<invoke name="add">\n<parameter name="a">1</parameter>\n</invoke>\n'
        '<invoke name="now">\n</invoke>\n</minimax:tool_call>',
        "Hm.",
        [ADD, NOW],
    ),
    "deepseek-tags": (
        "deepseek-tags",
        f'<{FULLWIDTH}function_calls>\n<{FULLWIDTH}invoke name="f">\n<{FULLWIDTH}parameter name="x" string="true">'
        f'7</{FULLWIDTH}parameter>\n<{FULLWIDTH}parameter name="n" string="false">7</{FULLWIDTH}parameter>\n'
        f"</{FULLWIDTH}invoke>\n</{FULLWIDTH}function_calls>",
        "",
        [("f", {"x": "7", "n": 7})],
    ),
    "deepseek": (
        "deepseek",
        "I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>"
        '{"a": 1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>'
        f"f<｜tool▁sep｜>{HARD_JSON}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "I look.",
        [ADD, HARD],
    ),
    "deepseek, before V3.1": (
        "deepseek-r1",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n"
        '{"a": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        [ADD, NOW],
    ),
    "kimi": (
        "kimi",
        "Ok<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>"
        '{"a": 1}<|tool_call_end|><|tool_call_begin|>functions.f:1<|tool_call_argument_begin|>'
        f"{HARD_JSON}<|tool_call_end|><|tool_calls_section_end|>",
        "Ok",
        [ADD, HARD],
    ),
    "mistral": ("mistral", f'Ok[TOOL_CALLS]add[ARGS]{{"a": 1}}[TOOL_CALLS]f[ARGS]{HARD_JSON}', "Ok", [ADD, HARD]),
    "mistral, with id": ("mistral", '[TOOL_CALLS]add[CALL_ID]abc123DEF[ARGS]{"a": 1}', "", [ADD]),
    "mistral, list": (
        "mistral-list",
        '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}, "id": "abc123DEF"}, {"name": "now", "arguments": {}}]',
        "",
        [ADD, NOW],
    ),
    "mistral, prose": ("mistral", "See [TOOL_CALLS] (it is [TOOL_", "See [TOOL_CALLS] (it is [TOOL_", []),
    "command-r": (
        "command-r",
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "add", "parameters": {"a": 1}}\n]<|END_ACTION|>',
        "",
        [ADD],
    ),
    "nemotron": ("nemotron", '<TOOLCALL>[{"name": "add", "arguments": {"a": 1}}]</TOOLCALL>', "", [ADD]),
    "apriel": ("apriel", f'<tool_calls>[{{"name": "f", "arguments": {HARD_JSON}}}]</tool_calls>', "", [HARD]),
    "granite": ("granite", '<|tool_call|>[{"name": "add", "arguments": {"a": 1}}]', "", [ADD]),
    "functionary": ("functionary", f'all\nHello.\n>>>add\n{{"a": 1}}>>>f\n{HARD_JSON}', "Hello.", [ADD, HARD]),
    "functionary, nothing": ("functionary", "", "", []),
    "functionary, neither": ("functionary", "so what", "so what", []),
    "functionary, text only": ("functionary", "all\nHello there", "Hello there", []),
    "function-tag": (
        "function-tag",
        f'Ok <function=add>{{"a": 1}}</function><function=f>{HARD_JSON}</function>',
        "Ok",
        [ADD, HARD],
    ),
    "llama": ("llama", '{"name": "add", "parameters": {"a": 1}}', "", [ADD]),
    "llama, two": (
        "llama",
        f'{{"type": "function", "name": "add", "parameters": {{"a": 1}}}}; {{"name": "f", "parameters": {HARD_JSON}}}',
        "",
        [ADD, HARD],
    ),
    "llama, python tag": ("llama", '<|python_tag|>{"name": "add", "parameters": {"a": 1}}', "", [ADD]),
    "llama, other JSON": ("llama", '{"name": "Bob", "age": 3}', '{"name": "Bob", "age": 3}', []),
    "llama, unknown tool": ("llama", '{"name": "rm", "parameters": {}}', '{"name": "rm", "parameters": {}}', []),
    "llama, later": ("llama", 'So: {"name": "add", "parameters": {}}', 'So: {"name": "add", "parameters": {}}', []),
    "lfm2": (
        "lfm2",
        "<|tool_call_start|>[add(a=1), f(x=\"a)]<|tool_call_end|>\", n=None, l=[1, {'k': true}])]"
        "<|tool_call_end|>Done.",
        "Done.",
        [ADD, ("f", {"x": "a)]<|tool_call_end|>", "n": None, "l": [1, {"k": True}]})],
    ),
    "lfm2, quotes": ("lfm2", "<|tool_call_start|>[f(x='a, )')]<|tool_call_end|>", "", [("f", {"x": "a, )"})]),
    "llama4": ("llama4", "[add(a=1), now()]", "", [ADD, NOW]),
    "llama4, other list": ("llama4", "[rm(a=1)]", "[rm(a=1)]", []),
    "llama4, python": ("llama4", "<|python_start|>[add(a=1)]<|python_end|>", "", [ADD]),
    "llama4, json": ("llama4", '{"name": "add", "parameters": {"a": 1}}', "", [ADD]),
    "gemma 3": ("hermes", "Ok.\n```tool_code\nadd(a=1)\n```", "Ok.", [ADD]),
    "gemma 3, other code": ("hermes", "```tool_code\nprint(a=1)\n```", "```tool_code\nprint(a=1)\n```", []),
    "gemma4": (
        "gemma4",
        'Ok<|tool_call>call:add{a:1}<tool_call|><|tool_call>call:f{x:<|"|>a, "b": }<tool_call|> {c:1}<|"|>,n:null,'
        'l:[1,{k:true},<|"|>y:z<|"|>]}<tool_call|><|tool_call>call:now{}<tool_call|>',
        "Ok",
        [ADD, ("f", {"x": 'a, "b": }<tool_call|> {c:1}', "n": None, "l": [1, {"k": True}, "y:z"]}), NOW],
    ),
    "seed": (
        "seed",
        "Ok.\n<seed:tool_call>\n<function=add>\n<parameter=a>1</parameter>\n</function>\n</seed:tool_call>",
        "Ok.",
        [ADD],
    ),
    "hunyuan": (
        "hunyuan",
        "<tool_calls:opensource>\n<tool_call:opensource>add<tool_sep:opensource>\n<arg_key:opensource>a"
        "</arg_key:opensource>\n<arg_value:opensource>1</arg_value:opensource>\n</tool_call:opensource>\n"
        "<tool_call:opensource>now<tool_sep:opensource>\n</tool_call:opensource>\n</tool_calls:opensource>",
        "",
        [ADD, NOW],
    ),
    "glm 4.7": (
        "glm",
        "<tool_call>add<arg_key>a</arg_key><arg_value>1</arg_value></tool_call><tool_call>now</tool_call>",
        "",
        [ADD, NOW],
    ),
    "minimax-m1": (
        "minimax-m1",
        '<tool_calls>\n{"name": "add", "arguments": {"a": 1}}\n{"name": "now", "arguments": {}}\n</tool_calls>',
        "",
        [ADD, NOW],
    ),
    "minimax-m3": (
        "minimax-m3",
        ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="add">]<]minimax[>[<a>1]<]minimax[>[</a>'
        "]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
        "",
        [ADD],
    ),
    "minicpm": (
        "minicpm",
        '<function name="add"><param name="a">1</param></function>\n<function name="now"></function>',
        "",
        [ADD, NOW],
    ),
    "muse": (
        "muse",
        '<atem:function_calls>\n<atem:invoke name="add">\n<atem:parameter name="a">1</atem:parameter>\n'
        "</atem:invoke>\n</atem:function_calls>",
        "",
        [ADD],
    ),
    "solar": (
        "solar",
        'Ok<|tool_calls|><|tool_call:begin|>call_1<|tool_call:name|>add<|tool_call:args|>{"a": 1}<|tool_call:end|>'
        f"<|tool_call:begin|>call_2<|tool_call:name|>f<|tool_call:args|>{HARD_JSON}<|tool_call:end|><|calls|>",
        "Ok",
        [ADD, HARD],
    ),
    "apertus": (
        "apertus",
        f'<|tools_prefix|>[{{"add": {{"a": 1}}}}, {{"f": {HARD_JSON}}}]<|tools_suffix|>',
        "",
        [ADD, HARD],
    ),
    "gigachat": ("gigachat", '<|function_call|>{"name": "add", "arguments": {"a": 1}}', "", [ADD]),
    "firefunction": ("firefunction", 'functools[{"name": "add", "arguments": {"a": 1}}]', "", [ADD]),
    "command-r-plus": (
        "command-r-plus",
        'Action: ```json\n[\n    {\n        "tool_name": "add",\n        "parameters": {"a": 1}\n    }\n]```',
        "",
        [ADD],
    ),
    "too many brackets": ("hermes", '<tool_call>{"name": "add", "arguments": {"a": 1}}}\n</tool_call>', "", [ADD]),
    "new line in a string": (
        "hermes",
        '<tool_call>{"name": "f", "arguments": {"x": "a\n\tb"}}</tool_call>',
        "",
        [("f", {"x": "a\n\tb"})],
    ),
    "harmony, content": ("harmony", "<|channel|>final<|message|>Hello\n*", "Hello\n*", []),
    "harmony, header of the role": (
        "harmony",
        ' to=functions.add<|channel|>commentary <|constrain|>json<|message|>{"a": 1}<|call|>',
        "",
        [ADD],
    ),
    "harmony, as the template writes it": (
        "harmony",
        ' to=functions.add<|channel|>commentary json<|message|>{"a": 1}<|call|>',
        "",
        [ADD],
    ),
    "harmony, preamble": (
        "harmony",
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
        f"<|constrain|>json<|message|>{HARD_JSON}<|call|>",
        "I look.",
        [HARD],
    ),
    "lfm2, no call": (
        "lfm2",
        "<|tool_call_start|>[1 + 2]<|tool_call_end|>",
        "<|tool_call_start|>[1 + 2]<|tool_call_end|>",
        [],
    ),
}


def read(
    pieces: list[str], reason: FinishReason = FinishReason.EOS, tools=TOOLS, **options
) -> tuple[Answer, list[Event]]:
    ids = (f"id{n}" for n in itertools.count())
    functions = {name: {} for name in tools}
    reader = OutputReader(options.pop("form", None), new_id=lambda: next(ids), functions=functions, **options)
    events = [event for piece in pieces for event in reader.feed(Delta(piece))]
    events += reader.finish(Finished(reason, Usage(1, len(pieces))))
    answer = Answer()
    for event in events:
        answer.add(event)
    assert all(event.text for event in events if isinstance(event, Content | Thought | ToolArguments))
    return answer, events


def cuts(text: str) -> list[list[str]]:
    halves = [[text[:cut], text[cut:]] for cut in range(len(text) + 1)]
    return halves + [[text[at : at + size] for at in range(0, len(text), size)] for size in (1, 2, 3, 7)]


def result(answer: Answer) -> tuple[str, str, list]:
    return answer.reasoning, answer.content, [(call.name, json.loads(call.arguments)) for call in answer.tool_calls]


def as_told(answer: Answer) -> tuple[str, str, list]:
    """Return what there is of calls, too, that the text ended within."""
    return answer.reasoning, answer.content, [(call.name, call.arguments) for call in answer.tool_calls]


def lead(form: str) -> str:
    return ">>>" if form == "functionary" else ""


@pytest.mark.parametrize("case", CASES)
def test_calls_at_every_cut(case: str) -> None:
    form, text, content, calls = CASES[case]
    for pieces in cuts(text):
        answer, events = read(pieces, form=TOOL_FORMATS[form], lead=lead(form))
        assert result(answer) == ("", content, calls), pieces
        assert len([event for event in events if isinstance(event, ToolCallStart)]) == len(calls)
        assert answer.finish.reason == (FinishReason.TOOL_CALLS if calls else FinishReason.EOS)


@pytest.mark.parametrize("case", CASES)
def test_calls_behind_thinking(case: str) -> None:
    form, text, content, calls = CASES[case]
    if lead(form):
        pytest.skip("this family does not think")
    reasoning = Reasoning(opened=TagPair("<think>", "</think>"))
    for pieces in cuts("So, add?\n</think>\n\n" + text):
        answer, _ = read(pieces, form=TOOL_FORMATS[form], reasoning=reasoning)
        assert result(answer) == ("So, add?", content.lstrip(), calls), pieces


@pytest.mark.parametrize("name", sorted({form for form, *_ in CASES.values()}))
def test_one_call_at_most(name: str) -> None:
    form = TOOL_FORMATS[name]
    for _, text, content, calls in (case for case in CASES.values() if case[0] == name and len(case[3]) > 1):
        if form.call_end and form.call_end in json.dumps(calls, ensure_ascii=False):
            continue  # a stop string ends a text wherever it stands, also in an argument
        if form.call_end:
            text = text[: text.index(form.call_end)]
        answer, _ = read([text], FinishReason.STOP_SEQUENCE, form=form, once=True, lead=lead(name))
        assert result(answer) == ("", content, calls[:1])


def begun(told: str, whole: str) -> bool:
    return whole.replace(" ", "").startswith(told.replace(" ", ""))


@pytest.mark.parametrize("case", CASES)
def test_a_call_that_was_cut_keeps_what_was_told_and_shows_no_marker(case: str) -> None:
    name, text, _, calls = CASES[case]
    form = TOOL_FORMATS[name]
    for cut in range(len(text)) if calls else ():
        whole, _ = read([text[:cut]], FinishReason.MAX_TOKENS, form=form, lead=lead(name))
        streamed, _ = read(list(text[:cut]), FinishReason.MAX_TOKENS, form=form, lead=lead(name))
        assert [(call.name, call.arguments) for call in whole.tool_calls] == [
            (call.name, call.arguments) for call in streamed.tool_calls
        ]
        assert whole.content == streamed.content
        assert whole.finish.reason == FinishReason.MAX_TOKENS
        for call, (called, arguments) in zip(whole.tool_calls, calls, strict=False):
            assert call.name == called
            assert begun(call.arguments, json.dumps(arguments, ensure_ascii=False)), call
        assert not any(syntax.opening in whole.content for syntax in form.syntaxes if not syntax.is_bare)


THOUGHTS = {
    "one": ("<think>\nHm, 1 < 2.\n</think>\n\nYes.", "Hm, 1 < 2.", "Yes."),
    "space before": ("\n<think>a</think>b", "a", "b"),
    "empty": ("<think>\n\n</think>\n\nYes.", "", "Yes."),
    "never closed": ("<think>\nHm\n", "Hm", ""),
    "two": ("<think>a</think>\n<think>b</think>\nc", "a\n\nb", "c"),
    "between lines": ("a\n<think>b</think>\nc", "b", "a\nc"),
    "in prose": ("Use <think> and </think>.", "", "Use <think> and </think>."),
    "like a tag": ("<thinker>", "", "<thinker>"),
    "end within": ("<think>a </thin b</think>c", "a </thin b", "c"),
    "end begun": ("<think>a</thi", "a</thi", ""),
    "mistral": ("[THINK]a[/THINK]b", "a", "b"),
    "command": ("<|START_THINKING|>a<|END_THINKING|>b", "a", "b"),
    "nothing": ("", "", ""),
    "white space": (" \n", "", " \n"),
    "plain": (" Just\n\ntext. ", "", " Just\n\ntext. "),
}


@pytest.mark.parametrize("case", THOUGHTS)
@pytest.mark.parametrize("form", [None, "hermes", "kimi"])
def test_thinking_at_every_cut(case: str, form: str | None) -> None:
    text, thought, content = THOUGHTS[case]
    for pieces in cuts(text):
        answer, _ = read(pieces, form=TOOL_FORMATS.get(form or ""), reasoning=Reasoning())
        assert result(answer) == (thought, content, []), pieces


@pytest.mark.parametrize("pair", KNOWN_PAIRS)
def test_every_pair(pair: TagPair) -> None:
    for pieces in cuts(f"{pair.start}\na{pair.end[:-1]} b\n{pair.end}\n c"):
        assert result(read(pieces, reasoning=Reasoning())[0]) == (f"a{pair.end[:-1]} b", "c", []), pieces


OPENED = {
    "closed": ("\nHm.\n</think>\n\nYes.", "Hm.", "Yes."),
    "never closed": ("Hm, 1 < 2", "Hm, 1 < 2", ""),
    "opened again": ("\n<think>\nHm.</think>Yes.", "Hm.", "Yes."),
    "at once": ("</think>Yes.", "", "Yes."),
    "almost opened again": ("<thinx", "<thinx", ""),
    "tag of another family": ("a\n[THINK]b</think>c", "a\n[THINK]b", "c"),
}


@pytest.mark.parametrize("case", OPENED)
def test_thinking_that_the_prompt_opened(case: str) -> None:
    text, thought, content = OPENED[case]
    for pieces in cuts(text):
        answer, _ = read(pieces, reasoning=Reasoning(opened=KNOWN_PAIRS[0]))
        assert result(answer) == (thought, content, []), pieces


def test_a_thought_leaves_at_once() -> None:
    reader = OutputReader(reasoning=Reasoning(opened=KNOWN_PAIRS[0]))
    assert reader.feed(Delta("Let me")) == [Thought("Let me")]
    assert reader.feed(Delta(" see.\n")) == [Thought(" see.")]
    assert reader.feed(Delta("</think>\n\n")) == []
    assert reader.feed(Delta("Hello")) == [Content("Hello")]
    assert reader.feed(Delta(" ")) == [Content(" ")]


def test_the_channels_of_harmony() -> None:
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>analysis<|message|>So.<|end|>"
        '<|start|>assistant<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1}<|call|>'
    )
    for pieces in cuts(text):
        answer, _ = read(pieces, form=TOOL_FORMATS["harmony"], reasoning=Reasoning())
        assert result(answer) == ("Hm.\n\nSo.", "", [ADD]), pieces
    text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>"
    for pieces in cuts(text):
        answer, _ = read(pieces, form=TOOL_FORMATS["harmony"], tools=frozenset(), reasoning=Reasoning())
        assert result(answer) == ("Hm.", "Yes.", []), pieces


def test_arguments_stream_and_the_name_comes_once() -> None:
    for case in ("hermes list", "kimi", "mistral", "llama", "harmony, header of the role", "apertus"):
        name, text, _, calls = CASES[case]
        _, events = read(list(text), form=TOOL_FORMATS[name], lead=lead(name))
        starts = [event for event in events if isinstance(event, ToolCallStart)]
        assert [start.name for start in starts] == [called for called, _ in calls]
        assert sum(isinstance(event, ToolArguments) for event in events) > 3 * len(calls)


TYPED = {"type": "object", "properties": {"x": {"type": "string"}, "n": {"type": "integer"}, "b": {"type": "boolean"}}}
XML = {
    "qwen3-coder": "<tool_call>\n<function=f>\n{}</function>\n</tool_call>|<parameter={}>\n{}\n</parameter>\n",
    "seed": "<seed:tool_call>\n<function=f>\n{}</function>\n</seed:tool_call>|<parameter={}>{}</parameter>\n",
    "glm": "<tool_call>f\n{}</tool_call>|<arg_key>{}</arg_key>\n<arg_value>{}</arg_value>\n",
    "minimax": '<minimax:tool_call>\n<invoke name="f">\n{}</invoke>\n</minimax:tool_call>|'
    '<parameter name="{}">{}</parameter>\n',
    "minicpm": '<function name="f">{}</function>|<param name="{}">{}</param>',
}


@pytest.mark.parametrize("name", XML)
def test_the_schema_gives_a_value_its_type(name: str) -> None:
    frame, parameter = XML[name].split("|")
    values = [("x", "42"), ("n", "42"), ("b", "True"), ("other", "[1]")]
    text = frame.format("".join(parameter.format(*each) for each in values))
    reader = OutputReader(TOOL_FORMATS[name], functions={"f": TYPED})
    answer = Answer()
    for event in [*reader.feed(Delta(text)), *reader.finish(Finished(FinishReason.EOS, Usage(1, 1)))]:
        answer.add(event)
    assert result(answer)[2] == [("f", {"x": "42", "n": 42, "b": True, "other": [1]})]


def test_tokens_of_thinking_are_counted() -> None:
    reader = OutputReader(reasoning=Reasoning())
    for piece in ("<think>", "a", " b", "</think>", "c"):
        reader.feed(Delta(piece, tokens=2))
    (*_, finish) = reader.finish(Finished(FinishReason.EOS, Usage(1, 10)))
    assert finish.usage.reasoning_tokens == 8


def test_dropped_thoughts() -> None:
    for pieces in cuts("<think>a</think>\nb"):
        assert result(read(pieces, reasoning=Reasoning(is_dropped=True))[0]) == ("", "b", [])


def test_a_call_within_thinking() -> None:
    text = "Hm" + CASES["kimi"][1].removeprefix("Ok")
    for pieces in cuts(text):
        answer, _ = read(pieces, form=TOOL_FORMATS["kimi"], reasoning=Reasoning(opened=KNOWN_PAIRS[0]))
        assert result(answer) == ("Hm", "", [ADD, HARD])


def test_thinking_in_an_argument_stays_there() -> None:
    text = '<tool_call>{"name": "f", "arguments": {"x": "\n<think>"}}</tool_call>'.replace("\n", "\\n")
    for pieces in cuts(text):
        assert result(read(pieces, form=TOOL_FORMATS["hermes"], reasoning=Reasoning())[0]) == (
            "",
            "",
            [("f", {"x": "\n<think>"})],
        )


def test_only_the_end_of_a_prompt_opens_thinking() -> None:
    assert opened_by("<|im_start|>assistant\n<think>\n", KNOWN_PAIRS) == KNOWN_PAIRS[0]
    assert opened_by("Use <think> tags.<|im_start|>assistant\n", KNOWN_PAIRS) is None
    assert opened_by("assistant\n<think>\n\n</think>\n\n", KNOWN_PAIRS) is None
    assert opened_by("…<reflect>", KNOWN_PAIRS, ["<reflect>"]) == TagPair("<reflect>", "</think>")


SHIPPED = {
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "ibm-granite-granite-4.0": "hermes",
    "Qwen3-Coder": "qwen3-coder",
    "Qwen3.5-4B": "qwen3-coder",
    "GLM-4.6": "glm",
    "MiniMax-M2": "minimax",
    "Kimi-K2-Instruct": "kimi",
    "Kimi-K2-Thinking": "kimi",
    "moonshotai-Kimi-K2": "kimi",
    "deepseek-ai-DeepSeek-V3.1": None,  # its template has no place for tools
    "deepseek-ai-DeepSeek-V3.2": "deepseek-tags",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral-list",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "command-r",
    "NVIDIA-Nemotron-Nano-v2": "nemotron",
    "unsloth-Apriel-1.5": "apriel",
    "ibm-granite-granite-3.3-2B-Instruct": "granite",
    "meetkai-functionary-medium-v3.2": "functionary",
    "meetkai-functionary-medium-v3.1": "function-tag",
    "meta-llama-Llama-3.1-8B-Instruct": "llama",
    "meta-llama-Llama-3.2-3B-Instruct": "llama",
    "LFM2-8B-A1B": "lfm2",
    "google-gemma-2-2b-it": None,
    "google-gemma-4-31B-it": "gemma4",
    "openai-gpt-oss-120b": "harmony",
    "Apertus-8B-Instruct": "apertus",
    "ByteDance-Seed-OSS": "seed",
    "CohereForAI-c4ai-command-r-plus-tool_use": "command-r-plus",
    "GLM-4.7-Flash": "glm",
    "GigaChat3.1-10B-A1.8B": "gigachat",
    "LFM2.5-8B-A1B": "lfm2",
    "LFM2.5-Instruct": "lfm2",
    "MiniMax-M1": "minimax-m1",
    "MiniMax-M3": "minimax-m3",
    "deepseek-ai-DeepSeek-V4": "deepseek-v4",
    "llama-cpp-deepseek-r1": "deepseek-r1",
    "fireworks-ai-llama-3-firefunction-v2": "firefunction",
    "muse-glimmer": "muse",
    "openbmb-MiniCPM5-1B": "minicpm",
    "tencent-Hy3": "hunyuan",
    "upstage-Solar-Open-100B": "solar",
}
UNABLE = {"Kimi-K2-Instruct", "Kimi-K2-Thinking", "llama-cpp-deepseek-r1", "fireworks-ai-llama-3-firefunction-v2"}
"""Templates that fail here as they do with Hugging Face."""
TEMPLATES = os.environ.get("LLAMA_CPP_TEMPLATES", "")


@pytest.mark.skipif(not TEMPLATES, reason="LLAMA_CPP_TEMPLATES does not name llama.cpp's models/templates")
@pytest.mark.parametrize("name", SHIPPED)
def test_formats_of_real_templates(name: str) -> None:
    found = find_format((Path(TEMPLATES) / f"{name}.jinja").read_text())
    assert (found.name if found else None) == SHIPPED[name]


@pytest.mark.skipif(not TEMPLATES, reason="LLAMA_CPP_TEMPLATES does not name llama.cpp's models/templates")
@pytest.mark.parametrize("name", [name for name, form in SHIPPED.items() if form and name not in UNABLE])
def test_what_real_templates_write_is_read(name: str) -> None:
    """A template that shows the model's earlier call shows how the model writes calls."""
    template = (Path(TEMPLATES) / f"{name}.jinja").read_text()
    form = find_format(template)
    arguments = {"city": "Paris }]", "days": 3}
    tool = Tool(name="forecast", description="Forecast.", parameters={"type": "object", "properties": {}})
    user = Message(role="user", content="Hi")
    call = Message(role="assistant", tool_calls=(ToolCall("call_1", "forecast", json.dumps(arguments)),))

    info = ModelInfo(backend="x", engine_version="1", context_length=1, capabilities=frozenset())

    def written(goes_on: bool, *messages: Message) -> str:
        conversation = Conversation(messages=messages, tools=(tool,))
        values = {**variables(conversation, ModelConfig(name="m"), info), "add_generation_prompt": goes_on}
        return render(conversation, template, form, values)

    asked, opened, told = written(False, user), written(True, user), written(False, user, call)
    opening = opened.removeprefix(asked)
    text = told.removeprefix(asked).removeprefix(opening)
    if "forecast" not in text:
        pytest.skip("this template does not show earlier calls")
    start = form.lead if opening.endswith(form.lead) else ""
    answer, _ = read([text], form=form, tools=frozenset({"forecast"}), reasoning=Reasoning(), lead=start)
    assert result(answer)[2] == [("forecast", arguments)], text


SCRAPS = ["<", " ", "\n", "{", "}", '"', "]", ";", "x", "<think>", "</think>", "<tool_call>", "</tool_call>", ">>>"]


@pytest.mark.parametrize("name", [None, *sorted(TOOL_FORMATS)])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_cut_of_any_mixture(name: str | None, data: st.DataObject) -> None:
    form = TOOL_FORMATS.get(name or "")
    texts = [text for each, text, *_ in CASES.values() if each == name]
    parts = [*SCRAPS, *texts, *(text[:9] for text in texts), *(form.preserved if form else ())]
    text = "".join(data.draw(st.lists(st.sampled_from(parts), max_size=8)))
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    whole, _ = read([text], form=form, reasoning=Reasoning())
    cut, _ = read([text[a:b] for a, b in itertools.pairwise([0, *places, len(text)])], form=form, reasoning=Reasoning())
    assert as_told(cut) == as_told(whole)
