"""Texts that look like markup in the wrong places, in every format: nothing is eaten, and a cut changes nothing."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localai_flask.chat.answer import Answer
from localai_flask.chat.formats import TOOL_FORMATS, ToolFormat
from localai_flask.chat.formats.notation import PairedArguments, TaggedArguments
from localai_flask.chat.output.reader import OutputReader
from localai_flask.chat.output.reasoning_marks import KNOWN_PAIRS, Reasoning
from localai_flask.generation import Delta, Finished, FinishReason, Usage

FUNCTIONS = {"note": {"type": "object", "properties": {"text": {"type": "string"}}}, "answer": {}, "think": {}}
THINK = KNOWN_PAIRS[0]
MARKS = sorted({mark for form in TOOL_FORMATS.values() for mark in (*form.preserved, *form.trailers)} | {*THINK})
ODD = [
    "</tool_call>",
    "<think>",
    "</think>",
    "\n<think>\n",
    '"}}',
    "\\",
    '"',
    "'",
    "{",
    "[TOOL_CALLS]",
    "é🎉",
    "\n",
    " ",
    "x,",
    "`",
]


def read(form: ToolFormat, pieces: list[str], opened: bool = False) -> Answer:
    reasoning = Reasoning((THINK,), THINK if opened else None)
    reader, answer = OutputReader(form, reasoning=reasoning, functions=FUNCTIONS), Answer()
    for piece in pieces:
        for event in reader.feed(Delta(piece)):
            answer.add(event)
    for event in reader.finish(Finished(FinishReason.EOS, Usage(1, 1))):
        answer.add(event)
    return answer


def told(answer: Answer) -> tuple[str, str, list[tuple[str, str]]]:
    return answer.reasoning, answer.content, [(call.name, call.arguments) for call in answer.tool_calls]


def call_of(form: ToolFormat, name: str, text: str) -> str:
    """Write a call with one text, as the format's models do."""
    notation = form.notation
    assert notation is not None
    call, block = notation.call, notation.block
    match notation.arguments:
        case TaggedArguments() as tags:
            arguments = tags.before + "text" + tags.text + text + tags.end("text")
        case PairedArguments() as pairs if pairs.quote:
            arguments = f"text{pairs.sign}{pairs.quote}{text}{pairs.quote}"
        case PairedArguments() as pairs:
            arguments = f"text{pairs.sign}{json.dumps(text, ensure_ascii=False)}"
        case _:
            arguments = json.dumps({"text": text}, ensure_ascii=False)
    named = json.dumps(name) if call.is_json else name
    written = block.opening + call.before + named + call.between + arguments + call.after + block.closing
    return written.replace("{number}", "0")


def cut(data: st.DataObject, text: str) -> list[str]:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in itertools.pairwise([0, *places, len(text)])]


@pytest.mark.parametrize("name", sorted(TOOL_FORMATS))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_marks_within_an_argument_belong_to_it(name: str, data: st.DataObject) -> None:
    form = TOOL_FORMATS[name]
    assert form.notation is not None
    arguments = form.notation.arguments
    text = "".join(data.draw(st.lists(st.sampled_from([*ODD, *MARKS]), max_size=5)))
    end = arguments.end("text") if isinstance(arguments, TaggedArguments) else getattr(arguments, "quote", "")
    if end and end in text:
        text = text.replace(end, "")
    if isinstance(arguments, TaggedArguments):  # readers take the white space off that stands around a text
        text = f"a{text}z"
    function = data.draw(st.sampled_from(sorted(FUNCTIONS)))
    said = call_of(form, function, text)
    answer = read(form, cut(data, said))
    assert [(call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [(function, {"text": text})], said
    assert not answer.content.strip() and not answer.reasoning


@pytest.mark.parametrize("name", sorted(TOOL_FORMATS))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_text_with_the_marks_of_others_is_shown(name: str, data: st.DataObject) -> None:
    """Within a sentence no mark of thinking counts, and no other family's mark ever does."""
    form = TOOL_FORMATS[name]
    own = {syntax.opening for syntax in form.syntaxes} | set(form.trailers) | set(form.preserved)
    others = [mark for mark in MARKS if not any(mark in each or each in mark for each in own)]
    mark = st.one_of(st.sampled_from(THINK), st.sampled_from(others))
    parts = [f"A {each} b. " for each in data.draw(st.lists(mark, max_size=5))]
    text = "Well: " + "".join(parts) + "Yes."
    assert told(read(form, cut(data, text))) == ("", text, [])


@pytest.mark.parametrize("name", sorted(TOOL_FORMATS))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_thoughts_stand_apart_from_text_and_calls(name: str, data: st.DataObject) -> None:
    """An empty thought, two of them, marks of calls that stand in a sentence of a thought, and a call behind."""
    form = TOOL_FORMATS[name]
    assert form.notation is not None
    thoughts = data.draw(st.lists(st.sampled_from(["", "Hm", "I say {} or [] or `x`"]), min_size=1, max_size=2))
    said = "".join(f"{THINK.start}\n{thought}\n{THINK.end}\n\n" for thought in thoughts)
    call = call_of(form, "note", "a</think>b\n<think>c")
    answer = read(form, cut(data, said + call))
    assert re.sub(r"\s+", " ", answer.reasoning).strip() == " ".join(filter(None, thoughts)), said + call
    assert [(each.name, json.loads(each.arguments)) for each in answer.tool_calls] == [
        ("note", {"text": "a</think>b\n<think>c"})
    ]
    assert not answer.content.strip()
