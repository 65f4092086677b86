"""Vectors of texts from an exported model: OpenVINO computes the hidden states of padded texts.

Queue, pooling and normalization are `backends.embedding`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openvino

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.embedding import Embedder, Steady, Tokens, Vectors
from localai_flask.backends.hugging_face.description import Description
from localai_flask.backends.hugging_face.folder import about, find_folder
from localai_flask.backends.hugging_face.sentence_folder import list_modules, read_pooling, read_prompt
from localai_flask.backends.hugging_face.tokenizer_file import read_tokenizer
from localai_flask.backends.hugging_face.tokens import Tokens as Tokenizer
from localai_flask.backends.notes import heed
from localai_flask.backends.openvino import key_checks
from localai_flask.backends.openvino.export import MODEL, ensure_exported
from localai_flask.backends.openvino.loading import describe, weight_bytes
from localai_flask.backends.openvino.pipeline import choose_device, device_properties, not_loaded
from localai_flask.config import traits
from localai_flask.config.files.snapshot import read_snapshot
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed
from localai_flask.generation import ModelInfo
from localai_flask.inquiry import Embed, Question

BATCH_TOKENS = 2048
SIDE_BY_SIDE = 64
EUCLIDEAN = 2
INPUTS = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
STATES = ("last_hidden_state", "token_embeddings")
"""What the output with a vector for each token is called, by the library that has exported the model."""


class Encoder:
    """A `Vectorizer`: runs the model on texts of about the same length, padded to the longest."""

    takes_pieces = False
    pads = True
    side_by_side = SIDE_BY_SIDE

    def __init__(self, model: openvino.CompiledModel, pooling: str, width: int, longest: int, n_batch: int):
        self.kind, self.width, self.longest, self.n_batch = pooling, width, longest, n_batch
        self._request = model.create_infer_request()
        self._inputs = {name for each in model.inputs for name in each.names} & INPUTS
        self._states = states_of(model)

    def project(self, pooled: Vectors) -> Vectors:
        return pooled

    def compute(self, texts: list[Tokens], position: int = 0) -> list[Vectors]:
        """Return each text's vectors, shape (tokens, width)."""
        inputs = {name: each for name, each in padded(texts).items() if name in self._inputs}
        states = np.asarray(self._request.infer(inputs)[self._states], np.float32)
        return [states[row, : len(tokens)] for row, tokens in enumerate(texts)]


def padded(texts: list[Tokens]) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """Put texts side by side; what a causal model reads must stand at the left, as its positions do."""
    ids, mask = np.zeros((2, len(texts), max(map(len, texts))), np.int64)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    kinds = np.zeros_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds, "position_ids": positions}


def states_of(model: openvino.CompiledModel) -> str:
    """Return the name of the output with a vector for each token; "" if there is none."""
    names = {name for each in model.outputs for name in each.names}
    return next((name for name in STATES if name in names), "")


def load_embedder(config: EngineConfig, progress: LoadProgress) -> tuple[Embedder, Tokenizer, ModelInfo]:
    """Read the folder; raise `ConfigError` or `ModelLoadFailed` as `load_model` does."""
    heed(key_checks.check(config), config)
    device, properties = choose_device(config), device_properties(config)
    source = find_folder(config)
    folder = ensure_exported(config, source, progress)
    pooling, prompt = read_sentences(config, source)
    tokenizer = read_tokenizer(config, folder)
    model = compile_model(config, folder, device, properties)
    width = int(model.output(states_of(model)).get_partial_shape()[2].get_length())
    snapshot = read_snapshot(source)
    limits = (snapshot.trained_context or traits.DEFAULT_CONTEXT, snapshot.tokenizer_limit, snapshot.sentence_limit)
    trained = min(filter(None, limits))
    longest = min(traits.choose_context(config.context_size, trained), trained)
    n_batch = config.batch or BATCH_TOKENS
    description = Description(folder)
    tokens = Tokenizer(tokenizer, description.vocabulary_size or tokenizer.backend_tokenizer.get_vocab_size(), ())

    def tokenize(question: Question) -> list[int]:
        assert isinstance(question, Embed), "capabilities come first"
        text = question.prompt
        if prompt and text.tokens is None:
            text = msgspec.structs.replace(text, text=prompt + text.text)
        return tokens.encode_whole(text)

    embedder = Embedder(
        *(Encoder(model, pooling, width, longest, n_batch), tokenize, Steady(n_batch)),
        norm=EUCLIDEAN,
        trained=trained,
        closing=frozenset(tokenizer.all_special_ids),
    )
    embedder.warm_up()
    progress(1.0)
    able = {"embed", "tokenize"}
    return embedder, tokens, describe(description, tokenizer, able, longest, trained, weight_bytes(folder), device)


def compile_model(
    config: EngineConfig, folder: Path, device: str, properties: dict[str, Any]
) -> openvino.CompiledModel:
    """Load the model onto its device; raise `ModelLoadFailed` if the library cannot, or if it makes no vectors."""
    core = openvino.Core()
    try:
        model = core.compile_model(folder / MODEL, device, properties)
    except RuntimeError as error:
        raise not_loaded(config, folder, device, error) from error
    if not states_of(model):
        raise ModelLoadFailed(
            f"{about(config)} finds no output with a vector for each token in {folder / MODEL}; export the model for "
            "feature-extraction, or remove `embeddings`."
        )
    return model


def read_sentences(config: EngineConfig, folder: Path) -> tuple[str, str]:
    """Return how vectors of tokens become one, and what stands before each text; one without modules is averaged."""
    pooling = "mean"
    for name, kind in list_modules(folder):
        if kind == "Pooling":
            pooling = read_pooling(config, folder / name / "config.json")
        elif kind not in ("Transformer", "Normalize"):  # all vectors are normalized anyway
            raise ConfigError(
                f"Model {config.name}: {folder / 'modules.json'} lists a {kind}, which the openvino backend does not "
                "have; choose another model, or `backend: transformers`."
            )
    return pooling, read_prompt(folder)
