"""A second context on a model's weights, which gives vectors or scores of texts instead of next tokens.

Owns the C context; knows neither queue nor requests. The library pools scores only: the vectors of tokens come out as
they are, so that a long text can be computed in pieces.
"""

from __future__ import annotations

import ctypes
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from localai_flask.backends.embedding import Vectors
from localai_flask.backends.llama_cpp.model.context import context_params
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.untouched import free_context, make_context
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.scheduling.batch import Batch, Tokens
from localai_flask.errors import ConfigError, ModelLoadFailed

if TYPE_CHECKING:
    from localai_flask.backends.llama_cpp.model.model import Model

log = logging.getLogger(__name__)

KINDS = ("none", "mean", "cls", "last", "rank")
"""The ways of pooling, in the order of llama.h's `llama_pooling_type`."""
SIDE_BY_SIDE, RECURRENT_SIDE_BY_SIDE = 64, 8
"""How many texts one batch holds; each costs a recurrent model a state."""
PART_BYTES = 16 << 20
"""The most that the vectors of one step may come to, well below what the wire takes."""


def own_pooling(model: Model) -> str | None:
    """Return how the model's author wants its vectors pooled; None if it was not made for that."""
    kind = model.metadata("pooling_type")
    return KINDS[int(kind)] if kind.isdecimal() and int(kind) < len(KINDS) else None


class PoolingContext:
    """Computes batches of whole texts, or pieces of one long text."""

    pads = False

    def __init__(self, model: Model, options: EngineOptions):
        """Make the context; raise `ConfigError` or `ModelLoadFailed` with one sentence."""
        self.kind = _choose_kind(model, options)
        self._model = model
        self.width = int(lib.llama_model_n_embd_out(model.handle))
        most = options.n_batch
        if self.kind == "none":
            most = max(1, min(most, PART_BYTES // (4 * self.width)))
        self.side_by_side = min(RECURRENT_SIDE_BY_SIDE if model.is_recurrent else SIDE_BY_SIDE, most)
        self.n_batch = most
        """Tokens of a batch, unless one text alone has more and cannot be computed in pieces."""
        self._is_encoder = bool(lib.llama_model_has_encoder(model.handle))
        self._open(options, most)
        self.takes_pieces = (
            self._memory is not None and not self._is_encoder and model.metadata("attention.causal") != "false"
        )
        """Whether a text may be longer than a batch: each token sees those before it only, and they are cached."""
        self.longest = model.context_size
        """Tokens of the longest text."""
        if not self.takes_pieces:
            self.longest = min(model.context_size, model.trained_context or model.context_size)
            if most < self.longest:
                self.close()
                most = self.longest
                self._open(options, most)
        self._batch = Batch(most)
        self._row = ctypes.c_float * self.width
        log.info("%s: vectors of %d numbers, pooling %s", model.path.name, self.width, self.kind)

    def _open(self, options: EngineOptions, n_batch: int) -> None:
        model = self._model
        self.context = make_context(model.handle, self._params(options, n_batch))
        if self.context is None:
            raise ModelLoadFailed(
                f"llama.cpp cannot make a context for the embeddings of {model.path}: {model.capture.cause()}; "
                f"lower `context_size` ({model.context_size}) or `batch` ({options.n_batch})."
            )
        model.adapters.apply_own(self.context)
        self._memory = lib.llama_get_memory(self.context)

    def close(self) -> None:
        if self.context is not None:
            free_context(self.context)
        self.context = None

    def project(self, pooled: Vectors) -> Vectors:
        """Return a vector as it is: llama.cpp has applied all layers of a model."""
        return pooled

    def compute(self, texts: list[Tokens], position: int = 0) -> list[Vectors]:
        """Return each text's vectors, shape (tokens, width), or (1, 1) with its score; they last until the next call.

        With a position the only text goes on where the call before has ended. Raises `RuntimeError` if the library
        fails.
        """
        if position == 0 and self._memory is not None:
            lib.llama_memory_clear(self._memory, False)
        self._batch.clear()
        for sequence, tokens in enumerate(texts):
            self._batch.add_chunk(tokens, position, sequence, is_last=True, wants_all=True)
        run = lib.llama_encode if self._is_encoder else lib.llama_decode
        code = run(self.context, self._batch.struct)
        if code != 0:
            cause = self._model.capture.cause()
            raise RuntimeError(f"llama.cpp failed with code {code} on {self._batch.size} tokens to embed: {cause}")
        if self.kind == "rank":
            return [self._score(sequence) for sequence in range(len(texts))]
        rows = self._rows(self._batch.size)
        ends = np.cumsum([len(tokens) for tokens in texts])[:-1]
        return np.split(rows, ends)

    def _params(self, options: EngineOptions, n_batch: int) -> Any:
        model = self._model
        params = context_params(options, 1, max(n_batch, model.context_size), n_outputs=0)
        params.n_batch = params.n_ubatch = n_batch
        params.n_seq_max = self.side_by_side
        params.embeddings = True
        params.pooling_type = KINDS.index("rank" if self.kind == "rank" else "none")
        params.n_threads = params.n_threads_batch = model.threads.prompts
        return params

    def _rows(self, count: int) -> Vectors:
        pointer = lib.llama_get_embeddings(self.context)
        memory: Any = (self._row * count).from_address(ctypes.addressof(pointer.contents))
        return np.frombuffer(memory, np.float32).reshape(count, self.width)

    def _score(self, sequence: int) -> Vectors:
        return np.array([[lib.llama_get_embeddings_seq(self.context, sequence)[0]]], np.float32)


def _choose_kind(model: Model, options: EngineOptions) -> str:
    own = own_pooling(model)
    kind = "rank" if options.reranking else options.pooling_type or own or "mean"
    if kind == "rank" and own != "rank":
        raise ConfigError(
            f"{model.path} ({model.description}) has no head that scores documents; remove `reranking` and "
            "`pooling_type: rank`, or choose a reranking model.",
            param="reranking",
        )
    return kind
