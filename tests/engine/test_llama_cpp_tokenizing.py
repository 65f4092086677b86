"""A long prompt is tokenized in another thread, while the engine computes others."""

from __future__ import annotations

import threading

import pytest

from localai_flask.backends.base import Inquiry, Job
from localai_flask.backends.llama_cpp.inquiries import LONG_TEXT
from localai_flask.errors import ContextOverflow
from localai_flask.generation import Constraint, Prompt
from localai_flask.inquiry import Detokenize, Detokenized, Embed, Embedded, Tokenize
from localai_flask.sampling_params import SamplingParams

LONG = "x" * LONG_TEXT


def job(text: str, **sampling) -> Job:
    return Job(1, Prompt(text), SamplingParams(**sampling))


@pytest.fixture
def engine(open_engine, monkeypatch):
    engine = open_engine()
    encode, engine.threads = engine.backend.model.vocabulary.encode, []

    def watched(prompt, *images):
        engine.threads.append(threading.current_thread().name)
        return encode(prompt, *images)

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


def test_a_long_suffix_is_tokenized_elsewhere_too(open_engine):
    assert open_engine().backend.compile_ahead(Job(1, Prompt("a", suffix=LONG), SamplingParams())) is not None


def test_long_texts_that_are_asked_about_are_read_elsewhere(open_engine, monkeypatch):
    backend = open_engine().backend
    tokenize, threads = backend.model.vocabulary._tokenize_text, []

    def watched(*arguments):
        threads.append(threading.current_thread().name)
        return tokenize(*arguments)

    monkeypatch.setattr(backend.model.vocabulary, "_tokenize_text", watched)
    assert backend.ask_ahead(Inquiry(1, Tokenize(Prompt("abc")))) is None
    long = Inquiry(2, Tokenize(Prompt(LONG, add_bos=False), pieces=True))
    backend.ask_ahead(long).result()
    found = backend.ask(long)
    assert b"".join(found.pieces) == LONG.encode() and threads == ["tokenizer"]
    back = Inquiry(3, Detokenize(found.tokens))
    backend.ask_ahead(back).result()
    assert backend.ask(back) == Detokenized(LONG)


def test_a_long_text_comes_tokenized_to_the_embedder(open_engine, monkeypatch):
    engine = open_engine(embeddings=True, context_size=None)
    long = Inquiry(1, Embed(Prompt(LONG), cut_to=64))
    engine.backend.ask_ahead(long).result()
    monkeypatch.setattr(engine.backend.model.vocabulary, "encode_whole", None)
    assert engine.backend.ask(long) is None
    engine.backend.start_inquiry(long)
    engine.replies[1] = []
    engine.run()
    assert isinstance(engine.replies[1][-1], Embedded) and engine.replies[1][-1].tokens == 64
