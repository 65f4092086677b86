"""Vectors and scores through the whole server, with OpenAI's own client and models dropped into the folder."""

from __future__ import annotations

import math
from pathlib import Path

import openai
import pytest

from tests.support import gguf_encoders
from tests.support.server import Server


def test_vectors_of_an_encoder(client: openai.OpenAI, models_path: Path) -> None:
    gguf_encoders.random_bert(models_path / "encoder.gguf")
    words = gguf_encoders.WORDS * 40
    found = client.embeddings.create(model="encoder", input=words)  # asks for base64, and decodes it
    assert [each.index for each in found.data] == list(range(len(words)))
    assert found.usage.prompt_tokens == 3 * len(words)
    first, again = (found.data[index].embedding for index in (0, len(gguf_encoders.WORDS)))
    assert first == pytest.approx(again, abs=1e-3) and math.isclose(math.hypot(*first), 1, abs_tol=1e-4)
    [alone] = client.embeddings.create(model="encoder", input="the", encoding_format="float").data
    assert alone.embedding == pytest.approx(first, abs=1e-3)
    assert len(client.embeddings.create(model="encoder", input="the", dimensions=8).data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError, match="102 tokens but this model takes 64"):
        client.embeddings.create(model="encoder", input="the " * 100)
    with pytest.raises(openai.BadRequestError, match="does not generate text"):
        client.completions.create(model="encoder", prompt="a")
    with pytest.raises(openai.BadRequestError, match="embeddings: true"):
        client.embeddings.create(model="demo", input="a")
    described = client.models.retrieve("encoder").model_dump()
    assert described["capabilities"] == ["embeddings", "tokenize"] and described["context_length"] == 64


def test_other_ways_to_ask_for_vectors_and_scores(server: Server, models_path: Path, client: openai.OpenAI) -> None:
    gguf_encoders.random_bert(models_path / "encoder.gguf")
    gguf_encoders.random_bert(models_path / "reranker.gguf", pooling=4, classes=1)
    cat, dog = (each.embedding for each in client.embeddings.create(model="encoder", input=["the cat", "a dog"]).data)
    status, made = server.post("/v2/embed", {"model": "encoder", "texts": ["the cat", "the " * 100]})
    assert status == 200 and made["embeddings"]["float"][0] == pytest.approx(cat, abs=1e-3)
    pair = {"text_1": "the cat", "text_2": ["a dog", "the cat"]}
    status, found = server.post("/v1/score", {"model": "encoder", **pair})
    expected = [sum(one * other for one, other in zip(cat, dog, strict=True)), 1]
    assert status == 200 and [each["score"] for each in found["data"]] == pytest.approx(expected, abs=1e-3)
    ranked = server.post("/v1/rerank", {"model": "reranker", "query": "the cat", "documents": pair["text_2"]})[1]
    by_index = {each["index"]: each["relevance_score"] for each in ranked["results"]}
    status, found = server.post("/v1/score", {"model": "reranker", **pair})
    assert status == 200 and [each["score"] for each in found["data"]] == pytest.approx([*map(by_index.get, (0, 1))])
    status, refused = server.post("/v1/score", {"model": "demo", **pair})
    assert status == 400 and "does not score" in refused["error"]["message"]


def test_scores_of_a_reranker(server: Server, models_path: Path) -> None:
    gguf_encoders.random_bert(models_path / "encoder.gguf")
    gguf_encoders.random_bert(models_path / "reranker.gguf", pooling=4, classes=1)
    body = {"model": "reranker", "query": "the cat", "documents": ["a dog", "the red cat", {"text": "two"}]}
    status, answer = server.post("/v1/rerank", body)
    assert status == 200, answer
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 3
    status, cohere = server.post("/v2/rerank", {**body, "top_n": 2})
    assert status == 200
    assert cohere["results"] == [
        {key: each[key] for key in ("index", "relevance_score")} for each in answer["results"][:2]
    ]
    long = {**body, "documents": ["the red cat " * 50]}
    status, refused = server.post("/v1/rerank", long)
    assert status == 400 and "`truncate`" in refused["error"]["message"]
    assert server.post("/v1/rerank", {**long, "truncate": True})[1]["usage"]["total_tokens"] == 64
    for model in ("demo", "encoder"):
        status, refused = server.post("/v1/rerank", {**body, "model": model})
        assert status == 400 and "choose a reranking model" in refused["error"]["message"]
