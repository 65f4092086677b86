"""Everything that is asked of a model beside generating: tokens at once, vectors and scores through the embedder."""

from __future__ import annotations

import re
from concurrent.futures import Future
from typing import Any

from localai_flask.backends.base import Event, Inquiry
from localai_flask.backends.embedding import Embedder
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.model.pooling import PoolingContext
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.scheduling.pace import Pace
from localai_flask.backends.llama_cpp.vision.sight import Sight
from localai_flask.backends.side_thread import SideThread
from localai_flask.errors import InvalidRequest, UnsupportedParameter
from localai_flask.generation import Prompt
from localai_flask.inquiry import Detokenize, Detokenized, Embed, Fact, Question, Score, Tokenize, Tokenized

LONGEST_TEXT = 1 << 20
"""Characters that are tokenized at once; it takes a second."""
LONG_TEXT = 1 << 12
"""Characters, or tokens that become text, for which another thread works: here they would take 5 ms of each stream."""
PLACES = re.compile(r"(\{query\}|\{document\})")
"""Where a model's template for pairs has its texts."""


class Inquiries:
    """Answers questions about one model; it has an embedder if the YAML or the file asks for vectors or scores."""

    def __init__(self, model: Model, options: EngineOptions, tokenizing: SideThread, sight: Sight | None = None):
        """Make the embedder's context; raise `ConfigError` or `ModelLoadFailed` with one sentence."""
        self._model = model
        self._tokenizing, self._sight = tokenizing, sight
        self._vocabulary = model.vocabulary
        self._context: PoolingContext | None = None
        self._embedder: Embedder | None = None
        if options.embeddings or not model.generates:
            self._context = context = PoolingContext(model, options)
            self._embedder = Embedder(
                *(context, self._tokens, Pace(context.n_batch)),
                norm=options.embd_normalize,
                trained=model.trained_context,
                closing={model.vocabulary.eos, lib.llama_vocab_sep(model.vocabulary.handle)},
            )
            if options.warmup:
                self._embedder.warm_up()
        template = lib.llama_model_chat_template(model.handle, b"rerank")
        self._pair_template = template.decode("utf-8", "replace") if template is not None else None

    @property
    def capabilities(self) -> frozenset[str]:
        embeds = [] if self._embedder is None else [self._embedder.capability]
        infills = ["infill"] if self._model.generates and self._vocabulary.infill is not None else []
        return frozenset(["tokenize", *embeds, *infills])

    @property
    def context_length(self) -> int:
        """Tokens of the longest text that the model takes."""
        return self._model.context_size if self._model.generates or self._context is None else self._context.longest

    @property
    def is_idle(self) -> bool:
        return self._embedder is None or self._embedder.is_idle

    @property
    def room(self) -> int:
        return 0 if self._embedder is None else self._embedder.room

    def ask_ahead(self, inquiry: Inquiry) -> Future[Any] | None:
        """Have another thread tokenize what is long or has images; None for all else."""
        question = inquiry.question
        if isinstance(question, Tokenize) and question.prompt.images:
            return self._count_with_images(inquiry, question)
        if _size(question) < LONG_TEXT:
            return None

        def make() -> None:
            inquiry.prepared = self._answer(question)
            if isinstance(question, Embed | Score) and self._embedder is not None:
                inquiry.prepared = self._embedder.read(question)

        return self._tokenizing.submit(make)

    def _count_with_images(self, inquiry: Inquiry, question: Tokenize) -> Future[Any]:
        sight, prompt = self._sight, question.prompt
        if sight is None:
            raise UnsupportedParameter("This model reads text only; leave the images out.", param="messages")
        if question.pieces:
            raise UnsupportedParameter("An image's tokens have no pieces; ask for the tokens alone.", param="messages")

        def make() -> None:
            images = {image.digest: sight.cut(image).tokens for image in prompt.images}
            inquiry.prepared = Tokenized(self._vocabulary.encode(prompt, images), [])

        return sight.thread.submit(make)

    def ask(self, inquiry: Inquiry) -> Fact | None:
        """Answer about tokens; None for all else. Raises `InvalidRequest`."""
        if isinstance(inquiry.prepared, Tokenized | Detokenized):
            return inquiry.prepared
        return self._answer(inquiry.question)

    def _answer(self, question: Question) -> Fact | None:
        if isinstance(question, Tokenize):
            return self._tokenize(question)
        if isinstance(question, Detokenize):
            return Detokenized(self._vocabulary.decode(question.tokens))
        return None

    def start(self, inquiry: Inquiry) -> None:
        assert self._embedder is not None, "capabilities come first"
        self._embedder.add(inquiry)

    def cancel(self, inquiry_id: int) -> None:
        if self._embedder is not None:
            self._embedder.cancel(inquiry_id)

    def step(self, streams: int) -> list[Event]:
        """Compute one batch of texts beside a number of running streams; raise `RuntimeError` if the library fails."""
        return [] if self._embedder is None or self._embedder.is_idle else self._embedder.step(streams)

    def observe(self, streams: int, seconds: float) -> None:
        """Learn how long streams take for a step of their own, by which texts beside them are paced."""
        if self._embedder is not None:
            self._embedder.observe(streams, seconds)

    def close(self) -> None:
        if self._context is not None:
            self._context.close()

    def _tokenize(self, question: Tokenize) -> Tokenized:
        _check_length("content", question.prompt.text)
        vocabulary, prompt = self._vocabulary, question.prompt
        if prompt.text and prompt.add_bos:
            tokens = vocabulary.encode_whole(prompt)
        else:
            tokens = vocabulary.tokens(prompt.text, special=prompt.special)
        return Tokenized(tokens, [vocabulary.spelled(token) for token in tokens] if question.pieces else [])

    def _tokens(self, question: Question) -> list[int]:
        """Turn what is to be embedded or scored into tokens."""
        if not isinstance(question, Score):
            assert not isinstance(question, Tokenize | Detokenize)
            _check_length("input", question.prompt.text)
            return self._vocabulary.encode_whole(question.prompt)
        _check_length("documents", question.query + question.document)
        if self._pair_template is None:
            return self._vocabulary.encode_pair(question.query, question.document)
        query, document = question.query, question.document
        parts = {"{query}": query, "{document}": document}
        text = "".join(parts.get(part, part) for part in PLACES.split(self._pair_template))
        return self._vocabulary.encode(Prompt(text, add_bos=False))


def _size(question: Question) -> int:
    """Return how long the text of a question is, or how many tokens it has."""
    if isinstance(question, Detokenize):
        return len(question.tokens)
    return len(question.query + question.document) if isinstance(question, Score) else len(question.prompt.text)


def _check_length(field: str, text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise InvalidRequest(
            f"`{field}` has {len(text)} characters, more than the {LONGEST_TEXT} that are read at once; shorten it.",
            param=field,
        )
