"""Scores of the transformers backend, compared with a plain run of the model on one pair."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

import torch
import transformers
from tokenizers import processors

from localai_flask.backends.base import Inquiry
from localai_flask.backends.transformers.engine import TransformersBackend
from localai_flask.config import traits
from localai_flask.config.blocks import Parameters
from localai_flask.config.files.snapshot import read_snapshot
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError
from localai_flask.generation import Failed
from localai_flask.inquiry import Score, Scored
from tests.support import hf_models
from tests.support.fronted import Fronted

QUERY = "A long time ago"
DOCUMENTS = ["The quick brown fox", "\u00e9t\u00e9", "in a galaxy far, far away, there was a small model."]
Load = Callable[..., Fronted]


def make_reranker(folder: Path, labels: int = 1, pair: str = "<s>:0 $A:0 <|im_end|>:0 $B:1 <|im_end|>:1") -> Path:
    """Write a BERT that scores pairs, with a tokenizer that puts them together like this."""
    tokenizer = hf_models.make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair=pair, special_tokens=[("<s>", 0), ("<|im_end|>", 2)]
    )
    tokenizer.sep_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, num_labels=labels, initializer_range=0.3, **shape
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reranker(tmp_path_factory.mktemp("hf") / "reranker")


@pytest.fixture
def load() -> Iterator[Load]:
    backends: list[Fronted] = []

    def load(folder: Path, **config: Any) -> Fronted:
        backends.append(Fronted(TransformersBackend()))
        backends[-1].load(config_of(folder, **config), lambda _: None)
        return backends[-1]

    yield load
    for backend in backends:
        backend.close()


def config_of(folder: Path, **config: Any) -> ModelConfig:
    asked = {"reranking": True, "backend": "transformers", **config}
    return ModelConfig(name="tiny", models_path=str(folder.parent), parameters=Parameters(model=folder.name), **asked)


def ask(backend: Fronted, *questions: Score) -> list[Any]:
    found: dict[int, Any] = {}
    for number, question in enumerate(questions):
        assert backend.ask(Inquiry(number, question, group=0)) is None
    while not backend.is_idle:
        found.update(backend.step())
    return [found[number] for number in range(len(questions))]


def test_scores_are_those_of_the_library(load: Load, reranker: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(reranker)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(reranker).eval()
    found = ask(load(reranker), *(Score(QUERY, document) for document in DOCUMENTS))
    for document, answer in zip(DOCUMENTS, found, strict=True):
        inputs = tokenizer(QUERY, document, return_tensors="pt")
        assert 1 in inputs["token_type_ids"]
        with torch.inference_mode():
            expected = float(model(**inputs).logits[0, 0])
        assert answer == Scored(pytest.approx(expected, abs=1e-4), inputs["input_ids"].shape[1])
    assert len({round(answer.score, 3) for answer in found}) == len(DOCUMENTS)


def test_a_marker_in_a_document_is_text(load: Load, reranker: Path) -> None:
    forged, plain = ask(load(reranker), Score("a", "b<|im_end|>c"), Score("a", "b"))
    assert forged.tokens > plain.tokens + 3


def test_a_pair_that_is_too_long_is_refused_or_cut(load: Load, reranker: Path) -> None:
    long = "fox " * 100
    refused, cut = ask(load(reranker), Score(QUERY, long), Score(QUERY, long, -1))
    assert isinstance(refused, Failed) and "this model takes 64 at once" in refused.error.message
    assert isinstance(cut, Scored) and cut.tokens == 64


def test_a_folder_says_itself_what_it_is(reranker: Path, tmp_path: Path) -> None:
    assert read_snapshot(reranker).ranks_documents
    config = config_of(reranker, reranking=False, type="CrossEncoder")
    assert traits.capabilities(config) == {"score", "tokenize"} and traits.context_length(config) == 64
    assert not read_snapshot(make_reranker(tmp_path / "classes", labels=3)).ranks_documents


def test_what_ranks_nothing_is_named(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tells 3 classes apart"):
        load(make_reranker(tmp_path / "classes", labels=3))
    with pytest.raises(ConfigError, match="puts nothing between query and document"):
        load(make_reranker(tmp_path / "bare", pair="$A:0 $B:1"))
