"""Log-probabilities: as many as asked, of the tokens that were chosen, and those that the library computes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.contract.subject import PROMPTS, TOKENS, WRITER, Subject

TOP = 5
ROUNDING = 1e-3


def need_alternatives(subject: Subject, top: int) -> None:
    """Skip the test if the engine cannot tell that many."""
    subject.need_writing("top_logprobs")
    if top and not subject.engine.has_alternatives:
        pytest.skip(f"{subject.engine.name} knows the log-probabilities of chosen tokens only")


def ask(subject: Subject, top: int = TOP, **fields: Any) -> tuple[Any, Any]:
    """Return an answer of a chat, and the log-probabilities of its tokens."""
    need_alternatives(subject, top)
    answer = subject.client.chat.completions.create(
        model=subject.need(WRITER),
        messages=[{"role": "user", "content": PROMPTS[0]}],
        max_tokens=TOKENS,
        logprobs=True,
        top_logprobs=top,
        **{"temperature": 0, **fields},
    )
    return answer, answer.choices[0].logprobs.content


def test_what_an_engine_does_not_know_is_refused_by_name(subject: Subject) -> None:
    subject.need_writing("top_logprobs")
    if subject.engine.has_alternatives:
        pytest.skip(f"{subject.engine.name} knows all log-probabilities")
    assert "log-probabilities of the chosen tokens only" in subject.refusal(logprobs=2)["message"]


def test_each_token_has_as_many_as_asked(subject: Subject) -> None:
    answer, entries = ask(subject)
    assert "".join(entry.token for entry in entries) == answer.choices[0].message.content
    assert len(entries) == answer.usage.completion_tokens == TOKENS
    for entry in entries:
        top = [each.logprob for each in entry.top_logprobs]
        assert len(top) == TOP and top == sorted(top, reverse=True)
        assert 0 < sum(map(math.exp, top)) <= 1 + ROUNDING


def test_a_greedy_token_is_the_likeliest(subject: Subject) -> None:
    _, entries = ask(subject)
    for entry in entries:
        best = entry.top_logprobs[0]
        assert entry.logprob == pytest.approx(best.logprob, abs=ROUNDING)
        assert entry.token in [each.token for each in entry.top_logprobs if each.logprob > best.logprob - ROUNDING]


def test_a_drawn_token_has_its_own(subject: Subject) -> None:
    """They are those of the model, before temperature."""
    seen = 0
    for number in range(4):
        _, entries = ask(subject, top=20, temperature=1.5, seed=number)
        for entry in entries:
            same = [each.logprob for each in entry.top_logprobs if each.token == entry.token]
            assert entry.logprob <= entry.top_logprobs[0].logprob + ROUNDING
            assert not same or any(entry.logprob == pytest.approx(each, abs=ROUNDING) for each in same)
            seen += bool(same) and entry.logprob < entry.top_logprobs[0].logprob - ROUNDING
    assert seen, "no token was drawn that is not the likeliest"


def test_none_are_asked_for(subject: Subject) -> None:
    _, entries = ask(subject, top=0)
    assert len(entries) == TOKENS
    assert all(not entry.top_logprobs and entry.logprob <= 0 for entry in entries)


def test_leads_are_the_librarys(subject: Subject) -> None:
    """The difference of two log-probabilities is that of their logits."""
    need_alternatives(subject, 2)
    own = subject.own_writing()[PROMPTS[0]]
    logprobs = subject.complete(PROMPTS[0], logprobs=2).choices[0].logprobs
    assert logprobs.tokens == own["pieces"]
    leads = own["leads"][: len(own["pieces"])]
    for token_logprob, top, lead in zip(logprobs.token_logprobs, logprobs.top_logprobs, leads, strict=True):
        first, *rest = sorted(top.values(), reverse=True)
        assert token_logprob == pytest.approx(first, abs=ROUNDING)
        if rest:  # two tokens may have one text, under which there is one value
            assert first - rest[0] == pytest.approx(lead, abs=subject.engine.lead_error)


def test_stream_has_the_same(subject: Subject) -> None:
    _, whole = ask(subject)
    chunks = subject.client.chat.completions.create(
        model=WRITER,
        messages=[{"role": "user", "content": PROMPTS[0]}],
        max_tokens=TOKENS,
        logprobs=True,
        top_logprobs=TOP,
        temperature=0,
        stream=True,
    )
    streamed = [
        entry
        for chunk in chunks
        for choice in chunk.choices
        for entry in (choice.logprobs.content or [] if choice.logprobs else [])
    ]
    assert [entry.token for entry in streamed] == [entry.token for entry in whole]
    assert [entry.logprob for entry in streamed] == pytest.approx([entry.logprob for entry in whole], abs=ROUNDING)
