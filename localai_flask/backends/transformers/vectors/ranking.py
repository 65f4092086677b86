"""Scores of documents from cross-encoders: models that read query and document together, with a head of one number.

Owns the model that is run for this; the queue is `backends.embedding`'s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.embedding import Embedder, Tokens, Vectors
from localai_flask.backends.hugging_face.tokens import Tokens as Tokenizer
from localai_flask.backends.transformers.vectors.encoding import (
    SIDE_BY_SIDE,
    LoadedEncoder,
    describe,
    load_encoder,
    make_embedder,
    padded,
)
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError
from localai_flask.generation import ModelInfo
from localai_flask.inquiry import Question, Score

AROUND_PAIR = 2
"""Special tokens that a tokenizer puts around a pair at least, if it tells query and document apart."""


class CrossEncoder:
    """A `Vectorizer` whose only number for each pair is its score."""

    kind = "rank"
    width = 1
    takes_pieces = False
    pads = True

    def __init__(self, loaded: LoadedEncoder):
        self.longest, self.n_batch = loaded.longest, loaded.n_batch
        self.side_by_side = SIDE_BY_SIDE if loaded.model.config.pad_token_id is not None else 1
        self._model = loaded.model
        tokenizer = loaded.tokens.tokenizer
        self._separator = tokenizer.sep_token_id if "token_type_ids" in tokenizer.model_input_names else None
        """What parts query and document, if the model is told which is which."""

    def project(self, pooled: Vectors) -> Vectors:
        return pooled

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def compute(self, texts: list[Tokens], position: int = 0) -> list[Vectors]:
        """Return each pair's score, shape (1, 1)."""
        inputs = padded(texts)
        if self._separator is not None:
            is_separator = (inputs["input_ids"] == self._separator).long()
            behind = (is_separator.cumsum(1) - is_separator).clamp(max=1)
            inputs["token_type_ids"] = behind * inputs["attention_mask"]
        logits = self._model(**{name: each.to(self._model.device) for name, each in inputs.items()}).logits
        scores = logits.float().cpu().numpy().astype(np.float32)
        return [scores[row : row + 1] for row in range(len(texts))]


def load_ranker(config: EngineConfig, progress: LoadProgress) -> tuple[Embedder, Tokenizer, ModelInfo]:
    """Read the folder; raise `ConfigError` or `ModelLoadFailed` as `load_model` does."""
    loaded = load_encoder(config, progress, transformers.AutoModelForSequenceClassification)
    tokenizer: Any = loaded.tokens.tokenizer
    _check(config, loaded)

    def tokenize(question: Question) -> list[int]:
        assert isinstance(question, Score), "capabilities come first"
        ids: list[int] = tokenizer.encode(question.query, question.document, split_special_tokens=True, verbose=False)
        return ids

    embedder = make_embedder(loaded, CrossEncoder(loaded), tokenize)
    progress(1.0)
    return embedder, loaded.tokens, describe(loaded, "score")


def _check(config: EngineConfig, loaded: LoadedEncoder) -> None:
    """Raise `ConfigError` if the model ranks nothing."""
    advice = "choose a reranking model, or remove `reranking`"
    if loaded.model.config.num_labels != 1:
        raise ConfigError(
            f"Model {config.name}: {loaded.folder} tells {loaded.model.config.num_labels} classes apart, and one that "
            f"scores documents has one number; {advice}.",
            param="reranking",
        )
    if loaded.tokens.tokenizer.num_special_tokens_to_add(pair=True) < AROUND_PAIR:
        raise ConfigError(
            f"Model {config.name}: the tokenizer in {loaded.folder} puts nothing between query and document; {advice}.",
            param="reranking",
        )
