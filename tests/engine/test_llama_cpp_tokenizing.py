"""A long prompt is tokenized in another thread, while the engine computes others."""

from __future__ import annotations

import threading

import pytest

from localai_flask.backends.base import Job
from localai_flask.backends.llama_cpp.engine import LONG_TEXT
from localai_flask.errors import ContextOverflow
from localai_flask.generation import Constraint, Prompt
from localai_flask.sampling_params import SamplingParams

LONG = "x" * LONG_TEXT


def job(text: str, **sampling) -> Job:
    return Job(1, Prompt(text), SamplingParams(**sampling))


@pytest.fixture
def engine(open_engine, monkeypatch):
    engine = open_engine()
    encode, engine.threads = engine.backend.model.vocabulary.encode, []

    def watched(prompt):
        engine.threads.append(threading.current_thread().name)
        return encode(prompt)

    monkeypatch.setattr(engine.backend.model.vocabulary, "encode", watched)
    return engine


def test_a_long_text_is_tokenized_once_and_elsewhere(engine):
    long = job(LONG)
    engine.backend.compile_ahead(long).result()
    assert len(long.prompt_tokens) >= LONG_TEXT
    with pytest.raises(ContextOverflow, match=str(len(long.prompt_tokens))):
        engine.backend.prepare(long)
    assert engine.threads == ["tokenizer"]


def test_a_short_one_is_tokenized_at_once(engine):
    short = job("abc")
    assert engine.backend.compile_ahead(short) is None
    engine.backend.prepare(short)
    assert engine.threads == [threading.current_thread().name]


def test_a_form_is_compiled_beside_it(engine):
    good = job(LONG, constraint=Constraint("regex", "[a-c]+", "response_format"))
    engine.backend.compile_ahead(good).result()
    assert good.prompt_tokens
    bad = job(LONG, constraint=Constraint("regex", "[a-", "response_format"))
    with pytest.raises(Exception, match=r"regex|expression"):
        engine.backend.compile_ahead(bad).result()
