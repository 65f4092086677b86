"""Vectors, scores and tokens of the llama.cpp backend, compared with what the library itself makes of one text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_cpp")

from localai_flask.backends.base import Inquiry
from localai_flask.backends.embedding import normalize
from localai_flask.backends.llama_cpp.model import vocabulary
from localai_flask.backends.llama_cpp.model.pooling import KINDS
from localai_flask.diagnosis.trial import decode
from localai_flask.errors import ApiError, ConfigError, InvalidRequest
from localai_flask.generation import Failed, Prompt
from localai_flask.inquiry import (
    Detokenize,
    Detokenized,
    Embed,
    Embedded,
    EmbeddedPart,
    Question,
    Score,
    Scored,
    Tokenize,
    Tokenized,
)
from tests.engine.conftest import Engine, load_engine
from tests.support import gguf_encoders, gguf_models

TEXTS = ["the cat sits", "two", "a dog runs on the red mat", "three blue cat"] * 8
_ids = itertools.count(1)

Open = Callable[..., Engine]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    return {
        "bert": gguf_encoders.random_bert(folder / "bert.gguf"),
        "reranker": gguf_encoders.random_bert(folder / "reranker.gguf", pooling=4, classes=1),
        "llama": gguf_models.random_llama(folder / "llama.gguf"),
        "mamba": gguf_models.random_mamba(folder / "mamba.gguf"),
        "gemma3": gguf_models.random_gemma3(folder / "gemma3.gguf"),
    }


@pytest.fixture
def load(files: dict[str, Path]) -> Iterator[Open]:
    engines: list[Engine] = []

    def load(name: str, *options: str, **config: Any) -> Engine:
        engines.append(load_engine(files[name], *options, **{"embeddings": True, **config}))
        return engines[-1]

    yield load
    for engine in engines:
        engine.backend.close()


def put(engine: Engine, *questions: Question) -> list[int]:
    """Ask questions that are to be queued, as one group."""
    inquiries = [Inquiry(next(_ids), question) for question in questions]
    for inquiry in inquiries:
        inquiry.group = inquiries[0].id
        assert engine.backend.ask(inquiry) is None
        engine.replies[inquiry.id] = []
    return [inquiry.id for inquiry in inquiries]


def answers(engine: Engine, *questions: Question) -> list[Any]:
    ids = put(engine, *questions)
    engine.run()
    return [engine.replies[id][-1] for id in ids]


def vectors(engine: Engine, *texts: str) -> np.ndarray:
    found = answers(engine, *(Embed(Prompt(text)) for text in texts))
    assert all(isinstance(answer, Embedded) for answer in found), found
    return np.array([np.frombuffer(answer.data, "<f4") for answer in found])


def by_library(path: Path, tokens: list[int], pooling: str) -> np.ndarray:
    """Pool one text in the library, with a context of its own."""
    from localai_flask.backends.llama_cpp.model.library import lib
    from localai_flask.backends.llama_cpp.scheduling.batch import Batch

    params = lib.llama_context_default_params()
    params.embeddings, params.pooling_type = True, KINDS.index(pooling)
    params.n_ctx = params.n_batch = params.n_ubatch = 512
    model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    context = lib.llama_init_from_model(model, params)
    batch = Batch(len(tokens))
    batch.add_chunk(np.array(tokens, np.int32), 0, 0, is_last=True, wants_all=True)
    assert lib.llama_decode(context, batch.struct) == 0
    width = 1 if pooling == "rank" else lib.llama_model_n_embd_out(model)
    vector = np.array(lib.llama_get_embeddings_seq(context, 0)[:width])
    lib.llama_free(context)
    lib.llama_model_free(model)
    return vector


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_pooling_is_the_librarys(load: Open, files: dict[str, Path], name: str, pooling: str) -> None:
    engine = load(name, f"pooling_type:{pooling}", "embd_normalize:-1", context_size=None)
    text = "a dog runs on the red mat"
    tokens = engine.backend.model.vocabulary.encode_whole(Prompt(text))
    assert np.allclose(vectors(engine, text)[0], by_library(files[name], tokens, pooling), atol=1e-3)


@pytest.mark.parametrize("name", ["bert", "llama", "mamba", "gemma3"])
def test_many_texts_at_once_are_as_each_alone(load: Open, name: str) -> None:
    engine = load(name)
    together = vectors(engine, *TEXTS)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([vectors(engine, text) for text in TEXTS[:4]])
    assert np.allclose(together, np.tile(alone, (8, 1)), atol=2e-3)
    assert not np.allclose(alone[0], alone[1], atol=0.05)


def test_many_texts_are_few_batches(load: Open) -> None:
    engine = load("bert")
    put(engine, *(Embed(Prompt(text)) for text in TEXTS))
    engine.step(len(TEXTS) // 4)
    assert engine.backend.is_idle


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("name", ["llama", "mamba", "gemma3"])
def test_a_long_text_is_computed_in_pieces(load: Open, name: str, pooling: str) -> None:
    text = "hello world " * 15
    pieces = load(name, f"pooling_type:{pooling}", batch=32, f16=False)
    whole = load(name, f"pooling_type:{pooling}", f16=False)
    assert np.allclose(vectors(pieces, "two", text, "one"), vectors(whole, "two", text, "one"), atol=2e-3)


def test_no_pooling_gives_every_tokens_vector(load: Open, files: dict[str, Path]) -> None:
    engine = load("llama", "pooling_type:none", batch=16)
    [key] = put(engine, Embed(Prompt("hello world " * 4)))
    engine.run()
    *parts, last = engine.replies[key]
    assert len(parts) > 1 and all(isinstance(part, EmbeddedPart) for part in parts)
    data = b"".join(reply.data for reply in engine.replies[key])
    rows = np.frombuffer(data, "<f4").reshape(last.tokens, last.dimension)
    assert last.tokens == 49
    raw = by_library(files["llama"], engine.backend.model.vocabulary.encode(Prompt("hello world " * 4)), "last")
    assert np.allclose(rows[-1], raw, atol=1e-2)


@pytest.mark.parametrize(
    ("norm", "expected"), [(-1, [3, -4]), (0, [0.75 * 32760, -32760]), (1, [3 / 7, -4 / 7]), (2, [0.6, -0.8])]
)
def test_normalization(norm: int, expected: list[float]) -> None:
    rows = normalize(np.array([[3, -4], [0, 0]], np.float32), norm)
    assert np.allclose(rows, [expected, [0, 0]])


def test_the_yaml_chooses_the_normalization(load: Open) -> None:
    assert np.isclose(np.abs(vectors(load("bert", "embd_normalize:1"), "two")).sum(), 1)


def test_token_ids_are_as_the_text(load: Open) -> None:
    engine = load("bert")
    word = gguf_encoders.word
    ids = [gguf_encoders.CLS, word("the"), word("cat"), gguf_encoders.SEP]
    text, tokens = answers(engine, Embed(Prompt("the cat")), Embed(Prompt(tokens=ids)))
    assert text == tokens and text.tokens == 4
    [outside] = answers(engine, Embed(Prompt(tokens=[9999])))
    assert isinstance(outside, Failed) and "9999" in outside.error.message


def test_what_is_too_long_is_refused_and_the_rest_answered(load: Open) -> None:
    engine = load("bert", context_size=1024)
    good, bad = answers(engine, Embed(Prompt("cat " * 62)), Embed(Prompt("cat " * 63)))
    assert isinstance(good, Embedded) and good.tokens == 64
    assert isinstance(bad, Failed) and "65 tokens but this model takes 64 at once" in bad.error.message
    assert "`truncate`" in bad.error.message and "context_size" not in bad.error.message


def test_an_encoder_needs_no_yaml(load: Open) -> None:
    engine = load("bert", embeddings=False)
    assert vectors(engine, "two").shape == (1, gguf_encoders.WIDTH)


def test_scores(load: Open, files: dict[str, Path]) -> None:
    engine = load("reranker", embeddings=False, reranking=True)
    query, documents = "the cat", ["a dog runs", "the red cat", "two", "on the mat"]
    found = answers(engine, *(Score(query, document) for document in documents))
    word, sep = gguf_encoders.word, gguf_encoders.SEP
    tokens = [gguf_encoders.CLS, word("the"), word("cat"), sep, word("two"), sep]
    assert isinstance(found[2], Scored) and found[2].tokens == len(tokens)
    assert np.isclose(found[2].score, by_library(files["reranker"], tokens, "rank")[0], atol=1e-3)
    assert len({round(answer.score, 3) for answer in found}) == 4


def test_a_pair_that_is_too_long_is_cut_where_it_is_asked(load: Open) -> None:
    engine = load("reranker", embeddings=False, reranking=True)
    refused, cut, shorter = answers(
        engine, *(Score("the cat", "red " * count, most) for count, most in ((99, None), (99, 10), (5, None)))
    )
    assert isinstance(refused, Failed) and "`truncate`" in refused.error.message
    assert refused.error.param == "documents"
    assert isinstance(cut, Scored) and isinstance(shorter, Scored)
    assert (cut.tokens, cut.score) == (shorter.tokens, pytest.approx(shorter.score, abs=1e-4))


def test_a_model_without_a_head_scores_nothing(load: Open) -> None:
    with pytest.raises(ConfigError, match="has no head that scores documents"):
        load("bert", reranking=True)
    with pytest.raises(ConfigError, match="has no head that scores documents"):
        load("llama", "pooling_type:rank")


def test_texts_beside_a_running_generation(load: Open) -> None:
    engine = load("llama")
    alone, expected = engine.text(engine.generate("abc", max_tokens=20)), vectors(engine, *TEXTS)
    job = engine.submit("abc", max_tokens=20)
    engine.step(3)
    assert np.allclose(vectors(engine, *TEXTS), expected, atol=2e-3)
    assert engine.text(job) == alone
    engine.check_books()


def test_cancelled_questions_are_forgotten(load: Open) -> None:
    engine = load("llama", batch=16)
    long, good = Embed(Prompt("hello world " * 15)), Embed(Prompt("c"))
    [first], [third] = put(engine, long), put(engine, good)
    engine.step()
    engine.backend.cancel(first)
    engine.run()
    assert engine.replies[first] == []
    [answer] = engine.replies[third]
    assert np.allclose(np.frombuffer(answer.data, "<f4"), vectors(engine, "c")[0], atol=1e-6)


def test_tokens_and_back(load: Open) -> None:
    engine = load("llama", embeddings=False)
    ask = lambda question: engine.backend.ask(Inquiry(next(_ids), question))  # noqa: E731
    found = ask(Tokenize(Prompt("<|im_start|>é", add_bos=False), pieces=True))
    assert isinstance(found, Tokenized)
    assert found.tokens[0] == gguf_models.IM_START and found.pieces == [b"<|im_start|>", b"\xc3", b"\xa9"]
    assert ask(Detokenize(found.tokens)) == Detokenized("<|im_start|>é")
    assert ask(Tokenize(Prompt("a"))).tokens[0] == gguf_models.BOS
    assert gguf_models.IM_START not in ask(Tokenize(Prompt("<|im_start|>", special=False, add_bos=False))).tokens
    assert ask(Tokenize(Prompt("", add_bos=False))) == Tokenized([])
    with pytest.raises(ApiError, match="99999 is not in this model's vocabulary"):
        ask(Detokenize([99999]))


def test_a_suffix_needs_a_vocabulary_for_it(load: Open) -> None:
    engine = load("llama", embeddings=False)
    assert "infill" not in engine.backend.inquiries.capabilities
    with pytest.raises(InvalidRequest, match="leave `suffix` out"):
        engine.submit(Prompt("a", suffix="b"))


def test_the_middle_of_a_text(load: Open) -> None:
    engine = load("llama", embeddings=False)
    engine.backend.model.vocabulary.infill = (gguf_models.IM_START, gguf_models.IM_END, gguf_models.TOOL_CALL)
    assert "infill" in engine.backend.inquiries.capabilities
    job = engine.generate(Prompt("a", suffix="b"), max_tokens=3)
    a, b = (gguf_models.character(char) for char in "ab")
    marked = [gguf_models.BOS, gguf_models.IM_START, a, gguf_models.IM_END, b, gguf_models.TOOL_CALL]
    assert job.prompt_tokens == marked and len(job.output_tokens) == 3


def test_other_files_stand_before_the_text(load: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("llama", embeddings=False).backend.model
    words = model.vocabulary
    words.infill = (gguf_models.IM_START, gguf_models.IM_END, gguf_models.TOOL_CALL)
    prompt = Prompt("a", suffix="b", files=[("f", "x"), ("g", "y")])
    plain = words.encode(prompt)
    begin, end = words.encode(Prompt("a", suffix="b"))[:1], words.encode(Prompt("a", suffix="b"))[1:]
    snippets = [token for text in "xy" for token in words.tokens("\n\n--- snippet ---\n\n") + words.tokens(text)]
    assert plain == [*begin, *snippets, *end]
    repository, file = gguf_models.BOS, gguf_models.IM_START
    monkeypatch.setattr(vocabulary.lib, "llama_vocab_fim_rep", lambda handle: repository)
    monkeypatch.setattr(vocabulary.lib, "llama_vocab_fim_sep", lambda handle: file)
    shown = [token for text in ("f\nx", "g\ny", "filename\n") for token in (file, *words.tokens(text))]
    assert words.encode(prompt) == [*begin, repository, *words.tokens("myproject\n"), *shown, *end]


def test_a_text_is_cut_before_the_tokens_that_end_it(load):
    engine = load("bert")
    words = ["the", "cat", "sits"] * 40
    for cut_to, kept in ((-1, 62), (10, 8), (999, 62), (1, None)):
        cut, short = put(
            engine,
            Embed(Prompt(" ".join(words)), cut_to),
            Embed(Prompt(" ".join(words[: kept or 1]))),
        )
        engine.run()
        [found], [expected] = engine.replies[cut], engine.replies[short]
        assert isinstance(found, Embedded) and found.tokens == (kept + 2 if kept else 1)
        assert (found.data == expected.data) == (kept is not None)


@pytest.mark.parametrize("name", ["bert", "reranker"])
def test_a_trial_asks_for_what_the_model_was_made_for(files: dict[str, Path], name: str) -> None:
    assert decode(files[name], is_cautious=False).tokens > 2
