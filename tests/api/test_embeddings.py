"""/v1/embeddings, /v1/rerank, /v1/tokenize and /v1/detokenize: what they take, what they refuse, what they answer."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from flask.testing import FlaskClient

from localai_flask.backends.embedding import InputTooLong
from localai_flask.generation import Prompt
from localai_flask.inquiry import ALL_IT_TAKES, Embed, Embedded, EmbeddedPart, Score
from tests.api.conftest import MODEL
from tests.api.fakes import FakePool

ALL = frozenset({"generate", "embed", "score", "tokenize"})


@pytest.fixture
def pool(pool: FakePool) -> FakePool:
    pool.info = msgspec.structs.replace(pool.info, capabilities=ALL)
    return pool


def post(client: FlaskClient, path: str, status: int = 200, **body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    return response.get_json()


def test_vectors_of_each_form_of_input(client: FlaskClient, pool: FakePool) -> None:
    ids = list(b"ab")
    one = post(client, "/v1/embeddings", input="ab")
    assert one["object"] == "list" and one["model"] == "tiny"
    assert one["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    [entry] = one["data"]
    assert entry["object"] == "embedding" and entry["index"] == 0
    assert math.isclose(math.hypot(*entry["embedding"]), 1, rel_tol=1e-5)
    assert post(client, "/embeddings", input=ids)["data"] == one["data"]
    assert post(client, "/v1/engines/tiny/embeddings", input=[ids])["data"] == one["data"]
    many = post(client, "/v1/embeddings", input=["x", "ab", ids], model="tiny")["data"]
    assert [each["index"] for each in many] == [0, 1, 2]
    assert many[1]["embedding"] == many[2]["embedding"] == entry["embedding"] != many[0]["embedding"]
    assert pool.questions[-3:] == [Embed(Prompt("x")), Embed(Prompt("ab")), Embed(Prompt(tokens=ids))]


def test_base64_is_little_endian_floats(client: FlaskClient) -> None:
    numbers = post(client, "/v1/embeddings", input="ab")["data"][0]["embedding"]
    coded = post(client, "/v1/embeddings", input="ab", encoding_format="base64")["data"][0]["embedding"]
    assert np.array_equal(np.frombuffer(base64.b64decode(coded), "<f4"), np.array(numbers, np.float32))


@pytest.mark.parametrize("form", ["float", "base64"])
def test_dimensions_cut_and_normalize(client: FlaskClient, form: str) -> None:
    whole = np.array(post(client, "/v1/embeddings", input="ab")["data"][0]["embedding"])
    cut = post(client, "/v1/embeddings", input="ab", dimensions=8, encoding_format=form)["data"][0]["embedding"]
    found = np.frombuffer(base64.b64decode(cut), "<f4") if form == "base64" else np.array(cut)
    assert np.allclose(found, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)
    error = post(client, "/v1/embeddings", 400, input="ab", dimensions=33)["error"]
    assert error["param"] == "dimensions" and "33" in error["message"] and "32" in error["message"]


def test_a_model_that_pools_nothing_has_a_list_of_vectors(client: FlaskClient, pool: FakePool) -> None:
    rows = np.arange(6, dtype="<f4").reshape(3, 2)
    pool.scripts = [[EmbeddedPart(rows[:2].tobytes()), Embedded(rows[2:].tobytes(), 2, 3)]]  # type: ignore[list-item]
    body = post(client, "/v1/embeddings", input="abc")
    assert body["data"][0]["embedding"] == [[0, 1], [2, 3], [4, 5]]
    assert body["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({}, "input", "is required"),
        ({"input": ""}, "input", "must not be empty"),
        ({"input": []}, "input", "not empty"),
        ({"input": ["a", ""]}, "input[1]", "must not be empty"),
        ({"input": [[1], []]}, "input[1]", "token ids"),
        ({"input": ["a"] * 2049}, "input", "at most 2048"),
        ({"input": 5}, "input", "must be a string"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "float, base64"),
        ({"input": "a", "dimensions": 0}, "dimensions", "must be at least 1."),
        ({"input": "a", "dimensions": 2**64}, "dimensions", "must be between 1 and "),
        ({"input": "a", "pooling": "last"}, "pooling", "pooling_type"),
        ({"input": "a", "embd_normalize": -1}, "embd_normalize", "embd_normalize in the model's YAML"),
        ({"input": "a", "embd_normalize": 0}, "embd_normalize", "embd_normalize in the model's YAML"),
        ({"input": "a", "normalize": False}, "normalize", "embd_normalize in the model's YAML"),
        ({"input": "a" * 9000}, None, "8192 tokens, but the prompt has 9000"),
    ],
)
def test_what_is_refused(client: FlaskClient, body: dict[str, Any], param: str | None, said: str) -> None:
    error = post(client, "/v1/embeddings", 400, **body)["error"]
    assert error["param"] == param and said in error["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a"}),
        ("/api/embed", {"input": "a"}),
        ("/api/embeddings", {"prompt": "a"}),
        ("/v2/embed", {"texts": ["a"]}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
        ("/v1/score", {"text_1": "a", "text_2": "b"}),
    ],
)
def test_adapters_by_number_are_refused(client: FlaskClient, pool: FakePool, path: str, body: dict[str, Any]) -> None:
    response = client.post(path, json={**body, "model": "tiny", "lora": [{"id": 0, "scale": 1}]})
    assert response.status_code == 400 and "`lora` chooses adapters for what is written" in response.text
    assert "`lora_adapter` in a model's YAML" in response.text
    assert pool.questions == []


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/embeddings", {"input": "a"}, "set `embeddings: true` in its YAML"),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}, "choose a reranking model"),
        ("/v1/tokenize", {"content": "a"}, "does not tell its tokens"),
    ],
)
def test_a_model_without_the_capability(
    client: FlaskClient, pool: FakePool, path: str, body: dict[str, Any], said: str
) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate"}))
    error = post(client, path, 400, **body)["error"]
    assert error["param"] == "model" and "'tiny'" in error["message"] and said in error["message"]
    assert pool.questions == []


def test_rerank(client: FlaskClient) -> None:
    documents = ["a dog", {"text": "the red cat"}, "cat"]
    body = post(client, "/v1/rerank", query="red cat", documents=documents)
    assert [(each["index"], each["relevance_score"]) for each in body["results"]] == [(1, 1.0), (2, 0.5), (0, 0.0)]
    assert body["results"][0]["document"] == {"text": "the red cat"}
    assert body["model"] == "tiny" and body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    best = post(client, "/rerank", query="red cat", documents=documents, top_n=1, return_documents=False)["results"]
    assert best == [{"index": 1, "relevance_score": 1.0}]
    for wrong in ({"documents": []}, {"documents": [5]}, {"documents": ["a"], "top_n": 0}):
        post(client, "/v1/rerank", 400, query="a", **wrong)


@pytest.mark.parametrize("path", ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/v2/rerank"])
def test_the_paths_of_rerank(client: FlaskClient, path: str) -> None:
    body = post(client, path, query={"text": "red cat"}, documents=["a dog", "red cat"], top_n=1)
    assert (body["results"][0]["index"], body["results"][0]["relevance_score"]) == (1, 1.0)


def test_rerank_in_coheres_shape(client: FlaskClient) -> None:
    asked: dict[str, Any] = {"query": "red cat", "documents": ["a dog", "red cat"]}
    body = post(client, "/v2/rerank", **asked)
    assert body["results"] == [{"index": 1, "relevance_score": 1.0}, {"index": 0, "relevance_score": 0.0}]
    assert body["meta"]["api_version"] == {"version": "2"} and body["meta"]["tokens"]["input_tokens"] > 0 and body["id"]
    told = post(client, "/v2/rerank", **asked, return_documents=True)["results"]
    assert told[0]["document"] == {"text": "red cat"}


def test_documents_as_clients_write_them(client: FlaskClient, pool: FakePool) -> None:
    parts = [{"type": "text", "text": "red"}, {"type": "text", "text": "cat"}]
    documents = ["a", {"text": "b"}, {"content": "c"}, {"content": parts}]
    post(client, "/v1/rerank", query={"content": "q"}, documents=documents, rank_fields=["text"], truncation=True)
    assert pool.questions == [Score("q", text, -1) for text in ("a", "b", "c", "red\ncat")]


@pytest.mark.parametrize(
    ("wrong", "param", "said"),
    [
        ({"documents": [{"image": "https://a.example/b.png"}]}, "documents[0]", "picture"),
        ({"documents": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "documents[0]", "picture"),
        ({"documents": [{"title": "a"}]}, "documents[0]", "`text`"),
        ({"documents": [{"content": []}]}, "documents[0]", "`text`"),
        ({"query": ""}, "query", "empty"),
        ({"query": {"text": 5}}, "query", "`text`"),
        ({"rank_fields": ["title"]}, "rank_fields", "`text`"),
        ({"max_tokens_per_doc": 5}, "max_tokens_per_doc", "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "at least 1"),
    ],
)
def test_what_cannot_be_ranked_is_named(client: FlaskClient, wrong: dict[str, Any], param: str, said: str) -> None:
    error = post(client, "/v2/rerank", 400, **{"query": "a", "documents": ["b"], **wrong})
    assert error["param"] == param and said in error["message"]


def test_tokenize_and_back(client: FlaskClient) -> None:
    tokens = post(client, "/v1/tokenize", content="é")["tokens"]
    assert tokens == [0xC3, 0xA9]
    assert post(client, "/v1/detokenize", tokens=tokens) == {"content": "é"}
    pieces = post(client, "/tokenize", content="aé", with_pieces=True)["tokens"]
    assert pieces == [{"id": 97, "piece": "a"}, {"id": 0xC3, "piece": [0xC3]}, {"id": 0xA9, "piece": [0xA9]}]
    assert post(client, "/v1/tokenize", content="") == {"tokens": []}
    for wrong in (["a"], [-1], "a"):
        post(client, "/v1/detokenize", 400, tokens=wrong)


class TestWithoutAName:
    @pytest.fixture
    def models(self, tmp_path: Path) -> Path:
        (tmp_path / "a.yaml").write_text(MODEL.format(name="alpha"))
        (tmp_path / "b.yaml").write_text(MODEL.format(name="beta") + "embeddings: true\n")
        (tmp_path / "c.yaml").write_text(MODEL.format(name="gamma") + "reranking: true\n")
        return tmp_path

    def test_the_model_is_one_that_fits(self, client: FlaskClient) -> None:
        assert post(client, "/v1/embeddings", input="a")["model"] == "beta"
        assert post(client, "/v1/rerank", query="a", documents=["a"])["model"] == "gamma"


@pytest.mark.parametrize(
    ("asked", "cut_to"),
    [
        ({}, None),
        ({"truncate": False}, None),
        ({"truncate": True}, -1),
        ({"truncate_prompt_tokens": -1}, -1),
        ({"truncate_prompt_tokens": 5, "truncate": True}, 5),
    ],
)
def test_texts_are_cut_only_if_asked(
    client: FlaskClient, pool: FakePool, asked: dict[str, Any], cut_to: int | None
) -> None:
    post(client, "/v1/embeddings", input="ab", **asked)
    assert pool.questions[-1] == Embed(Prompt("ab"), cut_to)


@pytest.mark.parametrize("asked", [{"truncate": "END"}, {"truncate_prompt_tokens": 0}, {"truncate_prompt_tokens": -2}])
def test_what_says_not_how_to_cut(client: FlaskClient, asked: dict[str, Any]) -> None:
    assert post(client, "/v1/embeddings", 400, input="ab", **asked)["error"]["param"] == next(iter(asked))


def test_vectors_in_coheres_shape(client: FlaskClient, pool: FakePool) -> None:
    plain = post(client, "/v1/embeddings", input=["ab", "x"])["data"]
    forms = ["float", "base64", "binary", "ubinary"]
    made = post(client, "/v2/embed", model="tiny", texts=["ab"], inputs=[{"content": "x"}], embedding_types=forms)
    assert made["texts"] == ["ab", "x"] and made["meta"]["tokens"]["input_tokens"] == 3
    found = made["embeddings"]
    assert list(found) == forms
    for index, each in enumerate(plain):
        numbers = np.array(each["embedding"], np.float32)
        assert found["float"][index] == each["embedding"]
        assert np.array_equal(np.frombuffer(base64.b64decode(found["base64"][index]), "<f4"), numbers)
        signs = np.packbits(numbers > 0)
        assert found["ubinary"][index] == signs.tolist()
        assert found["binary"][index] == (signs.astype(int) - 128).tolist()
    cut = post(client, "/v2/embed", texts=["ab"], input_type="search_query", output_dimension=8)["embeddings"]
    assert list(cut) == ["float"] and len(cut["float"][0]) == 8
    asked = pool.questions
    post(client, "/v2/embed", texts=["ab"], truncate="NONE")
    post(client, "/v2/embed", texts=["ab"], max_tokens=5)
    assert [question.cut_to for question in asked[-3:]] == [ALL_IT_TAKES, None, 5]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"texts": []}, "texts"),
        ({"texts": [""]}, "texts[0]"),
        ({}, "texts"),
        ({"texts": ["a"], "embedding_types": ["int8"]}, "embedding_types[0]"),
        ({"texts": ["a"], "truncate": "START"}, "truncate"),
        ({"texts": ["a"], "output_dimension": 100000}, "output_dimension"),
        ({"texts": ["a"], "images": ["data:"]}, "images"),
    ],
)
def test_what_coheres_vectors_cannot_be(client: FlaskClient, wrong: dict[str, Any], param: str) -> None:
    assert post(client, "/v2/embed", 400, **wrong)["param"] == param


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/embeddings", {"input": "ab"}, "input"),
        ("/v1/rerank", {"query": "a", "documents": ["a"]}, "documents"),
        ("/v1/score", {"text_1": "ab", "text_2": "a"}, None),
        ("/v2/embed", {"texts": ["ab"], "truncate": "NONE"}, "texts"),
        ("/v2/rerank", {"query": "a", "documents": ["a"]}, "documents"),
        ("/api/embed", {"input": "ab", "truncate": False}, None),
    ],
)
def test_a_text_that_is_too_long_has_the_requests_own_name(
    client: FlaskClient, pool: FakePool, path: str, body: dict[str, Any], param: str | None
) -> None:
    pool.scripts = [[InputTooLong(9, 5, 5, is_text="rank" not in path)]]
    said = post(client, path, 400, **body)
    error = said["error"] if isinstance(said.get("error"), dict) else said
    assert (error["code"], error.get("param")) == ("context_length_exceeded", param)
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (9, 5)
    assert "have it cut by `truncate`." in str(error), "whose values are not the same in all families"


def test_scores_of_pairs_by_a_model_that_scores(client: FlaskClient, pool: FakePool) -> None:
    made = post(client, "/v1/score", model="tiny", text_1="red cat", text_2=["a red cat", "a dog"])
    assert made["object"] == "list" and [(each["index"], each["score"]) for each in made["data"]] == [(0, 1), (1, 0)]
    assert pool.questions == [Score("red cat", "a red cat"), Score("red cat", "a dog")]
    pairs = post(client, "/score", queries=["a", "b"], documents=["a", {"text": "c"}], truncate=True)["data"]
    assert [each["score"] for each in pairs] == [1, 0]
    assert pool.questions[-1] == Score("b", "c", ALL_IT_TAKES)


def test_scores_of_pairs_by_vectors(client: FlaskClient, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"embed", "tokenize"}))
    one, other = (np.array(each["embedding"]) for each in post(client, "/v1/embeddings", input=["ab", "x"])["data"])
    made = post(client, "/v1/score", text_1="ab", text_2=["x", "ab"])
    assert [each["score"] for each in made["data"]] == pytest.approx([float(one @ other), 1], abs=1e-5)
    assert made["usage"]["total_tokens"] == 3, "each text is computed once"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"text_1": "a"}, "text_2"),
        ({"queries": "a"}, "documents"),
        ({"text_1": ["a", "b"], "text_2": ["a"]}, "text_2"),
        ({"text_1": [], "text_2": ["a"]}, "text_1"),
        ({"text_1": 1, "text_2": ["a"]}, "text_1"),
        ({"text_1": "a", "text_2": ["a", 1]}, "text_2[1]"),
    ],
)
def test_what_cannot_be_scored(client: FlaskClient, wrong: dict[str, Any], param: str) -> None:
    assert post(client, "/v1/score", 400, **wrong)["error"]["param"] == param
