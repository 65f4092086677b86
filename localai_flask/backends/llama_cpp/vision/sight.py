"""The images of one model's prompts: cut and encoded in a thread of their own, and remembered by their content.

An image is encoded once for all prompts that have it, as long as there is room to remember it; one whose tokens are in
the cache from a prompt before is not encoded at all.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from localai_flask.backends.base import Job
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence
from localai_flask.backends.llama_cpp.scheduling.shares import ImageShare
from localai_flask.backends.llama_cpp.vision.chunks import ImageChunk, Part, Tokens
from localai_flask.backends.llama_cpp.vision.placing import Embedding, ImageBatch, PlacedChunk, piece_of, place
from localai_flask.backends.llama_cpp.vision.projector import Projector
from localai_flask.backends.side_thread import SideThread, both
from localai_flask.errors import ApiError, InvalidRequest
from localai_flask.generation import Image

CUT_BYTES, ENCODED_BYTES = 16 << 20, 256 << 20
"""Memory for what images were cut into, and for what they were encoded to."""
LONGEST_WAIT_S = 0.02
"""How long a step waits for an image if it has nothing else to do; a command waits as long."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class View(NamedTuple):
    """What an image is for the model: its parts, and what its chunks are encoded to, if that is known."""

    parts: list[Part]
    embeddings: list[Embedding] | None

    @property
    def chunks(self) -> list[ImageChunk]:
        return [part for part in self.parts if isinstance(part, ImageChunk)]

    @property
    def tokens(self) -> list[int]:
        """What stands for it in a prompt."""
        return [
            token for part in self.parts for token in (part.tokens.tolist() if isinstance(part, ImageChunk) else part)
        ]


class Sight:
    """Sees the images of prompts; `held` tells how many of a prompt's first tokens are in the cache, by their scope."""

    def __init__(self, model: Model, projector: Projector, held: Callable[[Tokens, str], int]):
        self._model, self._projector, self._held = model, projector, held
        self.thread = SideThread("images")
        """Does one thing after the other."""
        self._cut: _Memory[list[Part]] = _Memory(CUT_BYTES)
        self._encoded: _Memory[list[Embedding]] = _Memory(ENCODED_BYTES)
        self.encoded = 0
        """How many images were encoded."""

    @property
    def is_causal(self) -> bool:
        """Whether images may be computed in parts."""
        return self._projector.is_causal

    def look_ahead(self, job: Job, scope: str | None) -> Future[Any] | None:
        """Have the images of a job encoded that its prompt will need; None if there is none to wait for.

        With a scope, its prompt is tokenized to leave out those that are in the cache for it.
        """
        images = {image.digest: image for image in job.prompt.images}
        views = {digest: View(parts, None) for digest in images if (parts := self._cut.get(digest)) is not None}
        job.ahead = views
        needed = images
        if scope is not None and len(views) == len(images):
            tokens = np.array(self._model.vocabulary.encode(job.prompt, self.tokens_of(job)), np.int32)
            held = self._held(tokens, scope)
            needed = {each.image.digest: each.image for each in self.place(job, tokens) if each.end > held}
        missing = []
        for digest, image in needed.items():
            embeddings = self._encoded.get(digest)
            if embeddings is not None and digest in views:
                views[digest] = View(views[digest].parts, embeddings)
            else:
                missing.append(self.thread.submit(functools.partial(self._see_for, job, image)))
        return functools.reduce(both, missing) if missing else None

    def tokens_of(self, job: Job) -> dict[str, list[int]]:
        """Return what stands for the images of a job, by their digests, once they are cut."""
        return {digest: view.tokens for digest, view in job.ahead.items()}

    def place(self, job: Job, tokens: Tokens) -> list[PlacedChunk]:
        """Find the images of a job among its tokens; raise `InvalidRequest` for one that cannot be computed."""
        views: dict[str, View] = job.ahead
        placed = place(tokens, [(image, views[image.digest].chunks) for image in job.prompt.images])
        for each in placed:
            embeddings = views[each.image.digest].embeddings
            each.embedding = None if embeddings is None else embeddings[each.number]
            if not self.is_causal and each.chunk.length > self._model.n_batch:
                raise InvalidRequest(
                    f"An image has {each.chunk.length} tokens, which this model has to compute at once, and at most "
                    f"{self._model.n_batch} can be; send a smaller one, or raise `batch`.",
                    param="messages",
                )
        return placed

    def look_now(self, sequence: Sequence) -> None:
        """Have the images encoded that a started sequence needs and that were in the cache when it came."""
        lacking = [each for each in sequence.images if each.end > sequence.slot.length and each.embedding is None]
        for digest in {each.image.digest for each in lacking}:
            same = [each for each in lacking if each.image.digest == digest]
            coming = self.thread.submit(functools.partial(self._see_late, same))
            for each in same:
                each.coming = coming

    def find_failed(self, sequences: Iterable[Sequence]) -> list[tuple[Sequence, ApiError]]:
        """List the sequences of which an image could not be encoded, and why."""
        failed = []
        for sequence in sequences:
            coming = {each.coming for each in sequence.images if each.coming is not None and each.coming.done()}
            errors = [error for each in coming if (error := each.exception()) is not None]
            failed += [(sequence, _own_error(error)) for error in errors[:1]]
        return failed

    def wait_for_one(self, sequences: Iterable[Sequence]) -> None:
        """Wait a moment for one of the images that sequences need next."""
        coming = [each.coming for sequence in sequences if (each := sequence.image) is not None and each.coming]
        if coming:
            wait(coming, LONGEST_WAIT_S, FIRST_COMPLETED)

    def compute(self, share: ImageShare) -> None:
        """Compute a part of an image; raise `NoCells` or `RuntimeError` as decoding does."""
        sequence, placed, length = share
        slot = sequence.slot
        embedding, positions = piece_of(placed, slot.length, length, slot.position_of(placed.begin))
        is_last = slot.length + length == len(sequence.prompt)
        batch = ImageBatch(embedding, positions, slot.id, is_last=is_last)
        if self.is_causal:
            self._model.decode(batch, with_prompt=True)
            return
        lib.llama_set_causal_attn(self._model.context, False)
        try:
            self._model.decode(batch, with_prompt=True)
        finally:
            lib.llama_set_causal_attn(self._model.context, True)

    def close(self) -> None:
        """Wait until the thread needs the projector no more."""
        self.thread.drain()

    # In the thread.

    def cut(self, image: Image) -> View:
        """Cut an image that nobody wants encoded."""
        parts = self._cut.get(image.digest)
        if parts is None:
            parts = self._projector.cut(image)
            self._cut.put(image.digest, parts, sum(map(_size, parts)))
        return View(parts, None)

    def _see_for(self, job: Job, image: Image) -> None:
        if job.is_over:
            return
        try:
            job.ahead[image.digest] = self._see(image)
        except BaseException:
            job.is_over = True  # the others of its images are not needed any more
            raise

    def _see_late(self, placed: list[PlacedChunk]) -> None:
        view = self._see(placed[0].image)
        assert view.embeddings is not None
        for each in placed:
            each.embedding = view.embeddings[each.number]

    def _see(self, image: Image) -> View:
        parts, embeddings = self._cut.get(image.digest), self._encoded.get(image.digest)
        if parts is None or embeddings is None:  # another prompt may have had it since it was asked for
            parts, embeddings = self._projector.see(image)
            self.encoded += 1
            self._cut.put(image.digest, parts, sum(_size(part) for part in parts))
            self._encoded.put(image.digest, embeddings, sum(each.nbytes for each in embeddings))
        return View(parts, embeddings)


def _own_error(error: BaseException) -> ApiError:
    if isinstance(error, ApiError):
        return error
    log.error("an image could not be encoded", exc_info=error)
    return ApiError(f"The engine failed at an image ({type(error).__name__}); see the log.")


def _size(part: Part) -> int:
    return part.tokens.nbytes + part.positions.nbytes if isinstance(part, ImageChunk) else 8 * len(part)


class _Memory(Generic[T]):
    """Remembers what was of use last, up to a number of bytes; for several threads."""

    def __init__(self, most: int):
        self._most, self._size = most, 0
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> T | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: str, value: T, size: int) -> None:
        with self._lock:
            self._size += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = value, size
            while self._size > self._most and len(self._kept) > 1:
                self._size -= self._kept.popitem(last=False)[1][1]
