"""Answers that wait for a slow reader: in order, and no more of them than there are sequences."""

from __future__ import annotations

import queue
import tracemalloc

import pytest

from localai_flask.generation import Delta, Finished, FinishReason, PromptLogprobs, Started, TokenLogprob, Usage
from localai_flask.pool.client.inbox import JOINED_AT, Inbox

FINISHED = Finished(FinishReason.EOS, Usage(1, 1))


def taken(inbox: Inbox) -> list[tuple[int, object]]:
    found = []
    while True:
        try:
            found.append(inbox.get(0))
        except queue.Empty:
            return found


def test_what_does_not_wait_comes_as_it_is() -> None:
    inbox = Inbox()
    for delta in (Delta("a", tokens=1), Delta("b", tokens=1)):
        inbox.put(0, delta)
        assert taken(inbox) == [(0, delta)]


def test_deltas_that_wait_are_one_for_each_sequence_and_nothing_passes_them() -> None:
    inbox = Inbox()
    logprob, prompt = TokenLogprob(1, b"a", -1.0), PromptLogprobs([])
    for answer in (
        Started(1),
        Delta("a", [logprob], 1),
        Delta("b", tokens=2),
        prompt,
        Delta("c", tokens=1),
    ):
        for tag in (0, 1):
            inbox.put(tag, answer)
    inbox.put(0, FINISHED)
    inbox.put(1, Delta("d", tokens=1))
    inbox.put(1, FINISHED)
    answers = taken(inbox)
    joined = Delta("ab", [logprob], 3)
    assert [each for tag, each in answers if tag == 0] == [
        Started(1),
        joined,
        prompt,
        Delta("c", tokens=1),
        FINISHED,
    ]
    assert [each for tag, each in answers if tag == 1] == [
        Started(1),
        joined,
        prompt,
        Delta("cd", tokens=2),
        FINISHED,
    ]


@pytest.mark.parametrize("sequences", [1, 8])
def test_a_reader_that_takes_nothing_costs_its_text_only(sequences: int) -> None:
    inbox = Inbox()
    count = 20_000
    tracemalloc.start()
    for number in range(count):
        inbox.put(number % sequences, Delta("four", tokens=1))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # One object for each delta would take 1.5 MB. Other tests' threads may allocate a little meanwhile.
    assert held < 2 * (4 * count + sequences * (JOINED_AT + 10) * 200)
    answers = taken(inbox)
    assert len(answers) == sequences
    assert sum(len(answer.text) for _, answer in answers if isinstance(answer, Delta)) == 4 * count
