"""Vectors of texts from any model of the library that has hidden states: sentence-transformers, encoders, decoders.

Owns the model that is run for this; queue, pooling and normalization are `backends.embedding`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import transformers

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.embedding import Embedder, Steady, Tokens, Vectorizer, Vectors
from localai_flask.backends.hugging_face.tokens import Tokens as Tokenizer
from localai_flask.backends.torch_devices import choose_device
from localai_flask.backends.transformers.loading.failures import LIBRARY
from localai_flask.backends.transformers.loading.folder import check_config, check_folder, prepare, read_tokenizer
from localai_flask.backends.transformers.loading.model import describe_model
from localai_flask.backends.transformers.loading.weights import read_weights
from localai_flask.backends.transformers.vectors.sentence_modules import SentenceModules, read_modules
from localai_flask.config import traits
from localai_flask.config.files.snapshot import read_snapshot
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError
from localai_flask.generation import ModelInfo
from localai_flask.inquiry import Embed, Question

BATCH_TOKENS = 2048
SIDE_BY_SIDE = 64
EUCLIDEAN = 2
POOLER = "pooler."
"""How the names of BERT's pooler begin, which many files leave out; it makes nothing that is used here."""


class Encoder:
    """A `Vectorizer`: runs the model on texts of about the same length, padded to the longest."""

    takes_pieces = False
    pads = True
    side_by_side = SIDE_BY_SIDE

    def __init__(self, model: Any, modules: SentenceModules, longest: int, n_batch: int):
        self.kind, self.longest, self.n_batch = modules.pooling, longest, n_batch
        self.width = modules.width or int(model.config.get_text_config().hidden_size)
        self._modules = modules
        self._model = model

    def project(self, pooled: Vectors) -> Vectors:
        projected: Vectors = self._modules.project(pooled)
        return projected

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def compute(self, texts: list[Tokens], position: int = 0) -> list[Vectors]:
        """Return each text's vectors, shape (tokens, width)."""
        device = self._model.device
        states = self._model(**{name: each.to(device) for name, each in padded(texts).items()}).last_hidden_state
        states = states.float().cpu().numpy()
        return [states[row, : len(tokens)] for row, tokens in enumerate(texts)]


def padded(texts: list[Tokens]) -> dict[str, torch.Tensor]:
    """Put texts side by side; what a causal model reads must stand at the left, as its positions do."""
    ids, mask = torch.zeros(2, len(texts), max(map(len, texts)), dtype=torch.long)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
        mask[row, : len(tokens)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def load_embedder(config: EngineConfig, progress: LoadProgress) -> tuple[Embedder, Tokenizer, ModelInfo]:
    """Read the folder; raise `ConfigError` or `ModelLoadFailed` as `load_model` does."""
    loaded = load_encoder(config, progress, transformers.AutoModel)
    model, tokens = loaded.model, loaded.tokens
    if model.config.is_encoder_decoder:
        raise ConfigError(
            f"Model {config.name}: the transformers backend makes no embeddings with models of an encoder and a "
            f"decoder, such as {model.config.model_type!r}; choose another model.",
            param="embeddings",
        )
    modules = read_modules(config, loaded.folder)
    encoder = Encoder(model, modules, loaded.longest, loaded.n_batch)

    def tokenize(question: Question) -> list[int]:
        assert isinstance(question, Embed), "capabilities come first"
        prompt = question.prompt
        if modules.prompt and prompt.tokens is None:
            prompt = msgspec.structs.replace(prompt, text=modules.prompt + prompt.text)
        return tokens.encode_whole(prompt)

    embedder = make_embedder(loaded, encoder, tokenize)
    progress(1.0)
    return embedder, tokens, describe(loaded, "embed")


@dataclass(frozen=True)
class LoadedEncoder:
    """A model that reads whole texts, and how long these may be."""

    folder: Path
    model: Any
    tokens: Tokenizer
    trained: int
    longest: int
    n_batch: int


def load_encoder(config: EngineConfig, progress: LoadProgress, kind: Any) -> LoadedEncoder:
    """Read the folder as one of the library's kinds of model; raise `ConfigError` or `ModelLoadFailed`."""
    check_config(config)
    folder = check_folder(config)
    prepare(config, folder, progress)
    device = choose_device(config)
    tokenizer = read_tokenizer(config, folder)
    model = read_weights(config, folder, device, kind, unused=POOLER)
    progress(0.95)
    snapshot = read_snapshot(folder)
    trained = min(snapshot.trained_context or traits.DEFAULT_CONTEXT, tokenizer.model_max_length)
    trained = min(trained, snapshot.sentence_limit or trained)
    longest = min(traits.choose_context(config.context_size, trained), trained)
    tokens = Tokenizer(tokenizer, model.get_input_embeddings().num_embeddings, ())
    return LoadedEncoder(folder, model, tokens, trained, longest, config.batch or BATCH_TOKENS)


def make_embedder(loaded: LoadedEncoder, encoder: Vectorizer, tokenize: Callable[[Question], list[int]]) -> Embedder:
    return Embedder(
        *(encoder, tokenize, Steady(loaded.n_batch)),
        norm=EUCLIDEAN,
        trained=loaded.trained,
        closing=frozenset(loaded.tokens.tokenizer.all_special_ids),
    )


def describe(loaded: LoadedEncoder, capability: str) -> ModelInfo:
    model = loaded.model
    weights = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    return ModelInfo(
        backend="transformers",
        engine_version=LIBRARY,
        context_length=loaded.longest,
        capabilities=frozenset({capability, "tokenize"}),
        trained_context=loaded.trained,
        memory_bytes=weights,
        gpu_bytes=0 if model.device.type == "cpu" else weights,
        description=describe_model(model),
    )
