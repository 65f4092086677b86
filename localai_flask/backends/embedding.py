"""Questions for vectors and scores: texts packed side by side into batches.

Owns what is the same for all engines: packing, pooling, normalization. Knows no model, only a `Vectorizer`, and
no sequence that generates: it is told how many run beside it, and then computes less in one step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Protocol

import numpy as np
import numpy.typing as npt

from localai_flask.backends.base import Event, Inquiry
from localai_flask.errors import ApiError, ContextOverflow
from localai_flask.generation import Failed
from localai_flask.inquiry import ALL_IT_TAKES, Embed, Embedded, EmbeddedPart, Question, Score, Scored

Tokens = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]

WARM_UP_TOKENS = 64
ALONE_TOKENS = 256
"""The least that a step beside no streams computes, if that much waits: in small batches each token costs more."""
ALIKE, FREE_TOKENS = 1.5, 8
"""How many times as long as another a text beside it may be where texts are padded, and tokens that cost nothing."""
LARGEST_16_BIT = 32760.0
"""To what llama.cpp scales the largest number when it normalizes for 16-bit integers."""


class InputTooLong(ContextOverflow):
    def __init__(self, asked: int, limit: int, trained: int, is_text: bool):
        """`is_text` means a text that is embedded, else it is a query with a document."""
        what, field = ("The input has", "input") if is_text else ("The query and a document have", "documents")
        advice = "shorten it, or have it cut by `truncate`"
        if limit < trained:
            advice += ", or raise `context_size` in the model's YAML"
        message = f"{what} {asked} tokens but this model takes {limit} at once; {advice}."
        super().__init__(asked, limit, param=field, message=message)


class Vectorizer(Protocol):
    """What an engine has for this: `kind` is how vectors become one ("none", "mean", "cls", "last"), or "rank"."""

    kind: str
    width: int
    """Numbers of a vector."""
    n_batch: int
    """Tokens of a batch, unless one text alone has more and cannot be computed in pieces."""
    longest: int
    """Tokens of the longest text."""
    side_by_side: int
    """Texts of a batch."""
    takes_pieces: bool
    """Whether a text can be computed in pieces, one call after the other."""
    pads: bool
    """Whether each text of a batch costs what the longest does."""

    def project(self, pooled: Vectors) -> Vectors:
        """Return what becomes of a pooled vector, shape (1, width of the states), before it is normalized."""

    def compute(self, texts: list[Tokens], position: int = 0) -> list[Vectors]:
        """Return each text's vectors, shape (tokens, width), or (1, 1) with its score; they last until the next call.

        With a position the only text goes on where the call before has ended. Raises `RuntimeError` if that fails.
        """


class Pacing(Protocol):
    """Learns how long a token takes, and how many the next step may compute beside a number of streams."""

    def budget(self, streams: int) -> int: ...

    def observe(self, prompt_tokens: int, streams: int, seconds: float) -> None: ...


class Steady:
    """Computes whole batches: no sequence runs beside them."""

    def __init__(self, n_batch: int):
        self._n_batch = n_batch

    def budget(self, streams: int) -> int:
        return self._n_batch

    def observe(self, prompt_tokens: int, streams: int, seconds: float) -> None:
        """Learn nothing."""


@dataclass(eq=False, slots=True)
class Item:
    """A text that waits for its vector; a short one is tokenized when its turn comes, as a thousand would take long.

    A long one may be computed up to `done`; `total` is what its vector is made of so far.
    """

    inquiry: Inquiry
    tokens: Tokens | None = None
    done: int = 0
    total: Vectors | None = None


class Embedder:
    """Answers in the order of arrival, as many texts at a time as fit into a batch."""

    def __init__(
        self,
        context: Vectorizer,
        tokenize: Callable[[Question], list[int]],
        pace: Pacing,
        *,
        norm: int,
        trained: int,
        closing: Collection[int] = (),
    ):
        """`closing` are special tokens that stay where they are at the end of a text that is cut."""
        self._context = context
        self._tokenize = tokenize
        self._norm = norm
        self._trained = trained
        self._closing = closing
        self._waiting: dict[int, Item] = {}
        self._pace = pace

    def warm_up(self) -> None:
        """Compute a text of any tokens, so that the first request waits for no buffers, and learn the pace."""
        size = min(WARM_UP_TOKENS, self._context.n_batch, self._context.longest)
        for _ in range(2):
            begun = time.perf_counter()
            self._context.compute([np.zeros(size, np.int32)])
        self._pace.observe(size, 0, time.perf_counter() - begun)

    @property
    def capability(self) -> str:
        return "score" if self._context.kind == "rank" else "embed"

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    @property
    def room(self) -> int:
        """How many more texts are of use for packing the next batch."""
        return self._context.side_by_side - len(self._waiting)

    def add(self, inquiry: Inquiry) -> None:
        """Take a text in."""
        self._waiting[inquiry.id] = Item(inquiry, inquiry.prepared)

    def cancel(self, inquiry_id: int) -> None:
        self._waiting.pop(inquiry_id, None)

    def observe(self, streams: int, seconds: float) -> None:
        """Learn how long a step of running streams takes with nothing beside them."""
        self._pace.observe(0, streams, seconds)

    def step(self, streams: int) -> list[Event]:
        """Compute one batch, a smaller one beside running streams; raise `RuntimeError` if the library fails."""
        events: list[Event] = []
        budget = self._pace.budget(streams)
        if not streams:
            budget = min(max(budget, ALONE_TOKENS), self._context.n_batch)
        chosen = self._plan(budget, events)
        if not chosen:
            return events
        begun = time.perf_counter()
        pieces = [piece for _, piece in chosen]
        for (item, piece), vectors in zip(chosen, self._context.compute(pieces, chosen[0][0].done), strict=True):
            events += self._take(item, piece, vectors)
        self._pace.observe(sum(map(len, pieces)), 0, time.perf_counter() - begun)
        return events

    def _plan(self, budget: int, events: list[Event]) -> list[tuple[Item, Tokens]]:
        """Choose the next texts: the oldest in any case, or a piece of it, and those behind it while they fit."""
        chosen: list[tuple[Item, Tokens]] = []
        for item in list(islice(self._waiting.values(), self._context.side_by_side)):
            try:
                tokens = self._tokens(item)
            except ApiError as error:
                events.append((item.inquiry.id, Failed(error.info)))
                self.cancel(item.inquiry.id)
                continue
            if item.done or (not chosen and len(tokens) > budget and self._context.takes_pieces):
                return [(item, tokens[item.done : item.done + budget])]
            if self._context.pads and chosen and not _is_alike(tokens, chosen[0][1]):
                continue  # beside that one it would cost as much
            budget -= len(tokens)
            if chosen and budget < 0:
                break
            chosen.append((item, tokens))
        return chosen

    def read(self, question: Question) -> Tokens:
        """Return what is computed of a text, from any thread; raise an `ApiError` if it is too long."""
        longest = self._context.longest
        tokens = self._tokenize(question)
        if isinstance(question, Embed | Score) and question.cut_to is not None:
            most = longest if question.cut_to == ALL_IT_TAKES else min(question.cut_to, longest)
            tokens = self._cut(tokens, most)
        if len(tokens) > longest:
            raise InputTooLong(len(tokens), longest, self._trained, isinstance(question, Embed))
        return np.array(tokens, np.int32)

    def _tokens(self, item: Item) -> Tokens:
        if item.tokens is None:
            item.tokens = self.read(item.inquiry.question)
        return item.tokens

    def _cut(self, tokens: list[int], most: int) -> list[int]:
        """Keep the beginning, with the special tokens that end a whole text."""
        if len(tokens) <= most:
            return tokens
        end = list(takewhile(self._closing.__contains__, reversed(tokens)))[:most][::-1]
        return [*tokens[: most - len(end)], *end]

    def _take(self, item: Item, piece: Tokens, vectors: Vectors) -> list[Event]:
        """Take the vectors of a text or of a piece of it, and tell what is complete."""
        inquiry, count = item.inquiry, len(self._tokens(item))
        is_first, item.done = item.done == 0, item.done + len(piece)
        is_last = item.done == count
        if is_last:
            self.cancel(inquiry.id)
        kind = self._context.kind
        if kind == "rank":
            return [(inquiry.id, Scored(float(vectors[0, 0]), count))] if is_last else []
        if kind == "none":
            data = vectors.tobytes()
            return [(inquiry.id, Embedded(data, self._context.width, count) if is_last else EmbeddedPart(data))]
        if kind == "mean":
            sums = vectors.sum(axis=0)
            item.total = sums if item.total is None else item.total + sums
        elif kind == "last" or is_first:
            item.total = vectors[0 if kind == "cls" else -1].copy()
        if not is_last:
            return []
        assert item.total is not None
        pooled = item.total[np.newaxis] / np.float32(count if kind == "mean" else 1)
        pooled = normalize(self._context.project(pooled), self._norm)
        return [(inquiry.id, Embedded(pooled.astype("<f4").tobytes(), self._context.width, count))]


def _is_alike(tokens: Tokens, first: Tokens) -> bool:
    """Return whether two texts side by side waste little on what the shorter one lacks."""
    shorter, longer = sorted((len(tokens), len(first)))
    return longer <= ALIKE * shorter + FREE_TOKENS


def normalize(vectors: Vectors, norm: int) -> Vectors:
    """Scale each row as llama.cpp's `embd_normalize` says; a row of zeros stays.

    -1: not at all; 0: to the range of 16-bit integers; p: to a p-norm of 1.
    """
    if norm < 0:
        return vectors
    sizes = np.abs(vectors.astype(np.float64))
    if norm == 0:
        lengths = sizes.max(axis=1, keepdims=True) / LARGEST_16_BIT
    else:
        lengths = (sizes**norm).sum(axis=1, keepdims=True) ** (1 / norm)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
