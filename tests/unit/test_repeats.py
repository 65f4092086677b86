"""An exact repeat of a call ends the answer, is never told, and holds nothing else back."""

from __future__ import annotations

import pytest

from localai_flask.chat.answer import Answer, Content, Enough, Event, Finish, ToolArguments, ToolCallStart
from localai_flask.chat.formats import TOOL_FORMATS
from localai_flask.chat.output.reader import OutputReader
from localai_flask.chat.output.repeats import DistinctCallsReader
from localai_flask.generation import Delta, Finished, FinishReason, Usage


def call(city: str, name: str = "weather") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {{"city": "{city}"}}}}\n</tool_call>\n'


def read(text: str, size: int, reason: FinishReason = FinishReason.MAX_TOKENS) -> tuple[Answer, list[Event]]:
    """Read a text as far as it is wanted."""
    reader = DistinctCallsReader(OutputReader(TOOL_FORMATS["hermes"], functions={"weather": {}, "news": {}}))
    events: list[Event] = []
    for at in range(0, len(text), size):
        events += reader.feed(Delta(text[at : at + size]))
        if Enough() in events:
            reason = FinishReason.TOOL_CALLS
            break
    events += reader.finish(Finished(reason, Usage(1, 1)))
    answer = Answer()
    for event in events:
        answer.add(event)
    return answer, events


def cities(answer: Answer) -> list[str]:
    return [f"{made.name} {made.arguments}" for made in answer.tool_calls]


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("told", "repeated"),
    [
        ([call("Oslo")], call("Oslo")),
        ([call("Oslo"), call("Rome")], call("Rome")),
        ([call("Oslo"), call("Rome")], call("Oslo")),
        ([call("Oslo"), call("Oslo", "news"), call("Osl"), call("Oslow")], call("Oslow")),
    ],
)
def test_the_answer_ends_with_the_last_new_call(told: list[str], repeated: str, size: int) -> None:
    known, _ = read("".join(told), size, FinishReason.EOS)
    answer, events = read("".join(told) + 30 * repeated + "That is all.", size)

    assert cities(answer) == cities(known) and len(cities(known)) == len(told)
    assert answer.content == ""
    assert answer.finish is not None and answer.finish.reason is FinishReason.TOOL_CALLS
    assert events.count(Enough()) == 1


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_calls_that_differ_all_arrive(size: int) -> None:
    text = "Let me see. " + call("Oslo") + call("Oslo", "news") + call("Osl") + call("Oslow") + call("Rome")
    answer, events = read(text, size, FinishReason.EOS)

    assert [made.split()[-1] for made in cities(answer)] == ['"Oslo"}', '"Oslo"}', '"Osl"}', '"Oslow"}', '"Rome"}']
    assert answer.content == "Let me see." and Enough() not in events
    assert answer.finish is not None and answer.finish.reason is FinishReason.TOOL_CALLS


def test_a_call_is_told_as_soon_as_it_differs() -> None:
    reader = DistinctCallsReader(OutputReader(TOOL_FORMATS["hermes"], new_id=lambda: "id", functions={"weather": {}}))
    reader.feed(Delta(call("Oslo")))
    assert reader.feed(Delta('<tool_call>{"name": "weather", "arguments": {"city": "O')) == []
    start, *arguments = reader.feed(Delta("mak"))
    assert start == ToolCallStart(1, "id", "weather")
    assert "".join(each.text for each in arguments if isinstance(each, ToolArguments)) == '{"city": "Omak'
    assert reader.feed(Delta("see")) == [ToolArguments(1, "see")]


@pytest.mark.parametrize("reason", [FinishReason.MAX_TOKENS, FinishReason.EOS])
def test_the_beginning_of_a_repeat_is_no_whole_call(reason: FinishReason) -> None:
    answer, events = read(call("Oslo") + call("Oslo")[:-26], 4, reason)
    assert cities(answer)[0] == 'weather {"city": "Oslo"}' and isinstance(events[-1], Finish)
    assert answer.finish is not None and answer.finish.reason is reason
    assert not any(isinstance(event, Content) for event in events)
    assert all(not made.endswith("}") for made in cities(answer)[1:])
