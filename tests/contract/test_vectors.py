"""Vectors, scores and tokens: those of the library."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.contract.subject import EMBEDDER, PROMPTS, RANKER, REAL_EMBEDDER, WRITER, Subject

TEXTS = ["the cat sits", "two", "a dog runs on the red mat", "three blue cat"]
LONG = "the cat sits on the mat " * 500
QUERY = "a red cat"
ROUND_TRIP = ["the quick brown fox", "A  b\n\tc", "é€😀 und Übermut", "numbers 1234567890", " leading"]


@pytest.mark.parametrize("model", [EMBEDDER, REAL_EMBEDDER])
def test_vectors_are_the_librarys(subject: Subject, model: str) -> None:
    subject.need(model)
    found = subject.client.embeddings.create(model=model, input=TEXTS, encoding_format="float")
    own = subject.own_vectors(model, TEXTS)
    assert [each.index for each in found.data] == list(range(len(TEXTS)))
    for each, expected in zip(found.data, own, strict=True):
        assert each.embedding == pytest.approx(expected, abs=subject.engine.vector_error)
    alone = subject.client.embeddings.create(model=model, input=TEXTS[0], encoding_format="float")
    assert alone.data[0].embedding == pytest.approx(own[0], abs=subject.engine.vector_error)


def test_vectors_count_their_tokens(subject: Subject) -> None:
    each = [subject.client.embeddings.create(model=subject.need(EMBEDDER), input=text).usage for text in TEXTS]
    together = subject.client.embeddings.create(model=EMBEDDER, input=TEXTS).usage
    assert all(usage.prompt_tokens > 0 for usage in each)
    assert together.prompt_tokens == together.total_tokens == sum(usage.prompt_tokens for usage in each)


def test_vectors_of_many_clients_at_once(subject: Subject) -> None:
    subject.need(EMBEDDER)

    def ask(text: str) -> list[float]:
        return subject.client.embeddings.create(model=EMBEDDER, input=text, encoding_format="float").data[0].embedding

    alone = {text: ask(text) for text in TEXTS}
    with ThreadPoolExecutor(8) as threads:
        for text, vector in zip(TEXTS * 4, threads.map(ask, TEXTS * 4), strict=True):
            assert vector == pytest.approx(alone[text], abs=subject.engine.vector_error)


def test_a_text_that_is_too_long_has_no_vector(subject: Subject) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        subject.client.embeddings.create(model=subject.need(EMBEDDER), input=LONG)
    assert refused.value.code == "context_length_exceeded"
    assert subject.client.embeddings.create(model=EMBEDDER, input=TEXTS).data


def test_scores_are_the_librarys(subject: Subject) -> None:
    asked = {"model": subject.need(RANKER), "query": QUERY, "documents": TEXTS}
    status, answer = subject.server.post("/v1/rerank", asked)
    assert status == 200, answer
    found = {each["index"]: each["relevance_score"] for each in answer["results"]}
    own = subject.own_scores(RANKER, QUERY, TEXTS)
    assert [found[index] for index in range(len(TEXTS))] == pytest.approx(own, abs=subject.engine.score_error)
    assert [each["relevance_score"] for each in answer["results"]] == sorted(found.values(), reverse=True)
    assert answer["usage"]["prompt_tokens"] > 0


def test_what_a_model_cannot_do_is_refused(subject: Subject) -> None:
    able = subject.capabilities(WRITER)
    for word, path, body in (
        ("embeddings", "/v1/embeddings", {"input": "x"}),
        ("rerank", "/v1/rerank", {"query": "x", "documents": ["x"]}),
    ):
        status, answer = subject.server.post(path, {"model": WRITER, **body})
        assert status == (200 if word in able else 400), answer


def test_tokens_are_the_librarys(subject: Subject) -> None:
    own = subject.own_writing()
    for prompt in PROMPTS:
        status, answer = subject.server.post("/tokenize", {"model": WRITER, "content": prompt, "add_special": True})
        assert status == 200, answer
        assert answer["tokens"] == own[prompt]["prompt_tokens"]


@pytest.mark.parametrize("text", ROUND_TRIP)
def test_tokens_and_back(subject: Subject, text: str) -> None:
    subject.need(WRITER)
    status, answer = subject.server.post("/tokenize", {"model": WRITER, "content": text})
    assert status == 200 and answer["tokens"]
    status, back = subject.server.post("/detokenize", {"model": WRITER, "tokens": answer["tokens"]})
    assert (status, back["content"]) == (200, text)


def test_tokens_for_a_prompt(subject: Subject) -> None:
    own = subject.own_writing()[PROMPTS[0]]
    if "tokens" not in subject.declared["inputs"]:
        status, answer = subject.server.post("/v1/completions", {"model": WRITER, "prompt": own["prompt_tokens"]})
        assert status == 400 and answer["error"]["param"] == "prompt"
        return
    answer = subject.client.completions.create(
        model=WRITER, prompt=own["prompt_tokens"], max_tokens=len(own["tokens"]), temperature=0
    )
    assert answer.choices[0].text == subject.text(PROMPTS[0])
    assert answer.usage and answer.usage.prompt_tokens == len(own["prompt_tokens"])
