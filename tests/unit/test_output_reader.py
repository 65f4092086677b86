"""The reader of model output: whatever the cut, the same answer."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localai_flask.chat.answer import Answer, Content, Event, ToolArguments, ToolCallStart
from localai_flask.chat.formats import TOOL_FORMATS
from localai_flask.chat.output.reader import OutputReader
from localai_flask.chat.output.reasoning_marks import Reasoning
from localai_flask.generation import Delta, Finished, FinishReason, TokenLogprob, Usage

HERMES = TOOL_FORMATS["hermes"]


def call(body: str) -> str:
    return f"<tool_call>\n{body}\n</tool_call>"


ADD = '{"name": "add", "arguments": {"a": 1}}'
ADD_CALL = ("add", '{"a": 1}')
CASES = {
    "plain": ("Just text.\n", "Just text.\n", []),
    "one call": (call(ADD), "", [ADD_CALL]),
    "text before": ("Let me see.\n\n" + call(ADD), "Let me see.", [ADD_CALL]),
    "text after": (call(ADD) + "\nDone.\n", "\nDone.\n", [ADD_CALL]),
    "text between": ("a " + call(ADD) + " b " + call(ADD) + "\n", "a b", [ADD_CALL] * 2),
    "two calls": (call(ADD) + "\n" + call(ADD) + "\n\n", "", [ADD_CALL] * 2),
    "no arguments": (call('{"name": "now"}'), "", [("now", "{}")]),
    "empty arguments": (call('{"name": "now", "arguments": {}}'), "", [("now", "{}")]),
    "null arguments": (call('{"name": "now", "arguments": null}'), "", [("now", "{}")]),
    "arguments first": (call('{"arguments": {"a": 1}, "name": "add"}'), "", [ADD_CALL]),
    "arguments in a string": (call('{"name": "add", "arguments": "{\\"a\\": 1}"}'), "", [ADD_CALL]),
    "brace and quote in a string": (call('{"name":"f","arguments":{"x":"}\\"}"}}'), "", [("f", '{"x":"}\\"}"}')]),
    "marker in a string": (
        call('{"name":"f","arguments":{"x":"</tool_call> <tool_call>"}}') + "!",
        "!",
        [("f", '{"x":"</tool_call> <tool_call>"}')],
    ),
    "unicode": (
        call('{"name":"f","arguments":{"x":"\u4eac\u90fd \U0001f600"}}'),
        "",
        [("f", '{"x":"\u4eac\u90fd \U0001f600"}')],
    ),
    "no closing marker": ("<tool_call>\n" + ADD, "", [ADD_CALL]),
    "closing marker cut": ("<tool_call>" + ADD + "\n</tool_c", "", [ADD_CALL]),
    "like a marker": ("a <tool_calling> and <tool", "a <tool_calling> and <tool", []),
    "marker in prose": ("Use <tool_call> tags.", "Use <tool_call> tags.", []),
    "marker, then a call": ("<tool_call> " + call(ADD), "<tool_call>", [ADD_CALL]),
    "cut in the name": ('ok\n<tool_call>\n{"name": "ad', 'ok\n<tool_call>\n{"name": "ad', []),
    "malformed": ("x " + call('{"name": add}') + " y", "x " + call('{"name": add}') + " y", []),
    "malformed, then good": (call('{"nam": "add"}') + "\n" + call(ADD), call('{"nam": "add"}'), [ADD_CALL]),
    "arguments are a list": (call('{"name": "f", "arguments": [1]}'), call('{"name": "f", "arguments": [1]}'), []),
    "no name": (call('{"name": "", "arguments": {}}'), call('{"name": "", "arguments": {}}'), []),
    "only white space": (" \n", " \n", []),
    "nothing": ("", "", []),
}


def read(pieces: list[str], reason: FinishReason = FinishReason.EOS) -> tuple[Answer, list[Event]]:
    ids = (f"id{n}" for n in itertools.count())
    reader = OutputReader(HERMES, new_id=lambda: next(ids))
    events = [event for piece in pieces for event in reader.feed(Delta(piece))]
    events += reader.finish(Finished(reason, Usage(1, len(pieces))))
    answer = Answer()
    for event in events:
        answer.add(event)
    return answer, events


def check(answer: Answer, events: list[Event], content: str, calls: list[tuple[str, str]]) -> None:
    assert answer.content == content
    assert [(call.name, call.arguments) for call in answer.tool_calls] == calls
    assert all(isinstance(json.loads(call.arguments), dict) for call in answer.tool_calls)
    assert [call.id for call in answer.tool_calls] == [f"id{n}" for n in range(len(calls))]
    assert all(event.text for event in events if isinstance(event, Content | ToolArguments))
    assert answer.finish is not None
    assert answer.finish.reason == (FinishReason.TOOL_CALLS if calls else FinishReason.EOS)


@pytest.mark.parametrize("case", CASES)
def test_every_cut_in_two_and_every_piece_size(case: str) -> None:
    text, content, calls = CASES[case]
    for cut in range(len(text) + 1):
        check(*read([text[:cut], text[cut:]]), content, calls)
    for size in (1, 2, 3, 7):
        check(*read([text[at : at + size] for at in range(0, len(text), size)]), content, calls)


@given(
    st.lists(st.sampled_from([*(text for text, _, _ in CASES.values()), "<", " ", "{", "tool_call>", "</tool_call>"])),
    st.data(),
)
def test_any_cut_of_any_mixture(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    whole, _ = read([text])
    cut, _ = read([text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])])
    assert (cut.content, cut.tool_calls) == (whole.content, whole.tool_calls)
    if not whole.tool_calls:
        assert whole.content == text


def test_text_leaves_as_soon_as_it_can_be_no_marker() -> None:
    reader = OutputReader(HERMES)
    assert reader.feed(Delta("Let me <b>")) == [Content("Let me <b>")]
    assert reader.feed(Delta(" see <tool")) == [Content(" see")]
    assert reader.feed(Delta("s>")) == [Content(" <tools>")]
    assert reader.feed(Delta("<tool_call>")) == []
    assert reader.feed(Delta(" is")) == [Content("<tool_call>"), Content(" is")]
    assert [type(e) for e in reader.feed(Delta(call(ADD)))] == [ToolCallStart, ToolArguments]


def test_without_tools_markers_are_text() -> None:
    reader = OutputReader()
    assert reader.feed(Delta(call(ADD) + " ")) == [Content(call(ADD) + " ")]


@pytest.mark.parametrize("reason", [FinishReason.MAX_TOKENS, FinishReason.CONTEXT])
def test_length_wins(reason: FinishReason) -> None:
    for text in (call(ADD), "<tool_call>" + ADD[:9]):
        answer, _ = read([text], reason)
        assert answer.finish is not None and answer.finish.reason == reason


def test_every_logprob_comes_once() -> None:
    text = "Hi\n" + call(ADD)
    logprobs = [TokenLogprob(ord(char), char.encode(), -1.0) for char in text]
    reader, answer = OutputReader(HERMES), Answer()
    for char, logprob in zip(text, logprobs, strict=True):
        for event in reader.feed(Delta(char, [logprob])):
            answer.add(event)
    for event in reader.finish(Finished(FinishReason.EOS, Usage(1, 1))):
        answer.add(event)
    assert answer.logprobs == logprobs


def test_ids_are_unique() -> None:
    reader = OutputReader(HERMES)
    starts = [event for event in reader.feed(Delta(call(ADD) * 3)) if isinstance(event, ToolCallStart)]
    assert len({start.id for start in starts}) == 3 and all(start.id.startswith("call_") for start in starts)


def test_a_mark_that_no_call_follows_is_not_held_for_ever() -> None:
    reader = OutputReader(TOOL_FORMATS["glm"])
    pieces = ["<tool_call>", *["word"] * 3000]
    said = [len(events) > 0 for events in (reader.feed(Delta(piece)) for piece in pieces)]
    assert not any(said[:1000]) and all(said[1500:])


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_thought_in_the_middle_counts_only_if_it_ends(size: int) -> None:
    text = "Here is how.\n<think>\nIt opens a thought."
    for ending, content, thought in (("", text, ""), ("\n</think>\nSo.", "Here is how.\nSo.", "It opens a thought.")):
        reader, answer = OutputReader(HERMES, reasoning=Reasoning()), Answer()
        whole = text + ending
        for piece in [whole[at : at + size] for at in range(0, len(whole), size)]:
            for event in reader.feed(Delta(piece, tokens=1)):
                answer.add(event)
        for event in reader.finish(Finished(FinishReason.EOS, Usage(1, 1))):
            answer.add(event)
        assert (answer.content, answer.reasoning) == (content, thought)
        assert answer.finish is not None and bool(answer.finish.usage.reasoning_tokens) == bool(thought)


@pytest.mark.parametrize("form", ["hermes", "kimi"])
def test_arguments_that_are_no_json_are_no_whole_call(form: str) -> None:
    notation = TOOL_FORMATS[form].notation
    assert notation is not None
    call, block = notation.call, notation.block
    name = '"f"' if call.is_json else "f"
    text = notation.head + name + call.between + '{"a":1 "b":2}' + call.after + block.closing
    reader, answer = OutputReader(TOOL_FORMATS[form], functions={"f": {}}), Answer()
    for event in [*reader.feed(Delta(text)), *reader.finish(Finished(FinishReason.EOS, Usage(1, 1)))]:
        answer.add(event)
    assert answer.finish is not None and answer.finish.reason is FinishReason.EOS
