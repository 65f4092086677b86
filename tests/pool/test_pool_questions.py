"""Questions over the wire: vectors, scores and tokens, many of them in one frame."""

from __future__ import annotations

import json

import pytest

from localai_flask.config.blocks import Limits
from localai_flask.errors import ApiError, ContextOverflow, Overloaded
from localai_flask.generation import Prompt
from localai_flask.inquiry import (
    Detokenize,
    Detokenized,
    Embed,
    Embedded,
    Fact,
    Question,
    Score,
    Scored,
    Tokenize,
    Tokenized,
)
from localai_flask.pool.client.session import Session
from tests.support.pool import Pool, ask, echo


def answers(session: Session, *questions: Question) -> list[Fact]:
    found = {}
    generation = session.ask(questions)
    try:
        for event in generation.events():
            if event is not None:
                found[event[0]] = event[1]
    finally:
        generation.close()
    return [found[index] for index in range(len(questions))]  # type: ignore[misc]


def test_each_kind_of_question(pool: Pool) -> None:
    session = pool.session(echo())
    assert {"embed", "score", "tokenize"} <= session.info.capabilities
    vector, again, score, tokens, text = answers(
        session,
        *(Embed(Prompt("é")), Embed(Prompt(tokens=[0xC3, 0xA9])), Score("red cat", "a red dog")),
        *(Tokenize(Prompt("é"), pieces=True), Detokenize([0xC3, 0xA9])),
    )
    assert isinstance(vector, Embedded) and len(vector.data) == 4 * vector.dimension and vector.tokens == 2
    assert vector == again
    assert isinstance(score, Scored) and score.score == 0.5
    assert tokens == Tokenized([0xC3, 0xA9], [b"\xc3", b"\xa9"])
    assert text == Detokenized("é")


def test_a_large_batch_keeps_its_order(pool: Pool) -> None:
    session = pool.session(echo())
    texts = [f"text {number}" for number in range(2048)]
    together = answers(session, *(Embed(Prompt(text)) for text in texts))
    assert together[::500] == [answers(session, Embed(Prompt(text)))[0] for text in texts[::500]]


def test_one_question_that_cannot_be_answered_fails_all(pool: Pool) -> None:
    session = pool.session(echo("short", context_size=8))
    with pytest.raises(ApiError, match="maximum context length is 8 tokens, but the prompt has 9") as raised:
        answers(session, Embed(Prompt("fits")), Embed(Prompt("too long.")))
    assert raised.value.info.code == ContextOverflow.code


def test_questions_of_one_request_count_as_one(pool: Pool) -> None:
    session = pool.session(echo("limited", limits=Limits(max_concurrent=1)))
    assert len(answers(session, Embed(Prompt("a")), Embed(Prompt("b")))) == 2
    running = ask(session, json.dumps({"say": "abc", "stall_after": 1}))
    try:
        assert any(event is not None for event in running.events())
        with pytest.raises(ApiError, match="takes 1 requests at once") as raised:
            answers(session, Embed(Prompt("a")), Embed(Prompt("b")))
        assert raised.value.info.code == Overloaded.code
    finally:
        running.close()
