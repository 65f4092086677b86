"""Images in the library's batches, which take token ids alone: each vector of an image is an id beyond the vocabulary.

So the library's cache of prefixes tells images apart, and finds the same one again. Where such an id is embedded, the
image's vector takes its place; for models that count positions in more than one dimension, theirs take that of the
batch's.
"""

from __future__ import annotations

import bisect
import inspect
import sys
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from localai_flask.backends.transformers.images.positions import longer
from localai_flask.backends.transformers.images.seen import DEEPER, SeenImage, SeenPrompt

if TYPE_CHECKING:
    from localai_flask.backends.transformers.images.reader import ImageReader

LARGEST_ID = 2**31 - 1
"""The library's batches hold ids of 32 bits."""


def reason_for_turns(model: Any, probe: SeenPrompt) -> str:
    """Return why batches cannot hold a model's images, by what it says of itself; empty if they can."""
    if "block_sequence_ids" in inspect.getsource(sys.modules[type(model).__module__]):
        return "an image's tokens see those behind them"
    if probe.images[0].output.get(DEEPER) is not None:
        return "its images reach deeper layers"
    return ""


class ImageRows:
    """Stands between one model and the batches; `add` and `drop` are called beside the library's thread."""

    def __init__(self, model: Any, reader: ImageReader):
        self._model = model
        self._reader = reader
        embedding = model.get_input_embeddings()
        self._size: int = embedding.num_embeddings
        self._next = self._size
        self._firsts: WeakValueDictionary[int, SeenImage] = WeakValueDictionary()
        """The images by the first of their ids."""
        self._lock = threading.Lock()
        self._prompts: dict[str, SeenPrompt] = {}
        self._positions: dict[str, Tensor] = {}
        """By request, where a model counts them in more than one dimension."""
        self._spans: list[tuple[str, int, int]] = []
        """What the next batch has of each request: from which of its tokens on, and how many."""
        self._embedding, self._embed = embedding, embedding.forward
        embedding.forward = self._embed_all
        self._hook = model.register_forward_pre_hook(self._put_positions, with_kwargs=True)

    def add(self, key: str, prompt: SeenPrompt) -> list[int]:
        """Return a prompt's ids for the library."""
        if not prompt.images:
            return prompt.ids
        ids, at = list(prompt.ids), 0
        self._prompts[key] = prompt
        for image in prompt.images:
            first = self._first_id(image)
            for number in range(len(image.rows)):
                at = ids.index(self._reader.token, at)
                ids[at] = first + number
        positions = self._reader.positions(prompt)
        if positions is not None and positions.ndim == 3:
            self._positions[key] = positions
        return ids

    def drop(self, key: str) -> None:
        """Forget a request's images, of which the next pass may still be the last."""
        self._prompts.pop(key, None)
        self._positions.pop(key, None)

    def close(self) -> None:
        """Leave the model as it was."""
        self._embedding.forward = self._embed
        self._hook.remove()

    def is_token(self, id: int) -> bool:
        """Return whether an id is one of the vocabulary's."""
        return id < self._size

    def begin_batch(self, spans: list[tuple[str, int, int]]) -> None:
        """Note which tokens of which requests the next pass has."""
        self._spans = spans

    def _first_id(self, image: SeenImage) -> int:
        if not image.first_id:
            count = len(image.rows)
            if self._next + count > LARGEST_ID:  # what had the first of them is long forgotten
                self._next = self._size
            image.first_id, self._next = self._next, self._next + count
        with self._lock:
            self._firsts[image.first_id] = image
        return image.first_id

    def _embed_all(self, ids: Tensor) -> Tensor:
        beyond = ids >= self._size
        if not bool(beyond.any()):
            embedded: Tensor = self._embed(ids)
            return embedded
        embedded = self._embed(ids.masked_fill(beyond, self._reader.token))
        with self._lock:
            firsts = sorted(self._firsts)
            images = {first: self._firsts.get(first) for first in firsts}
        rows = torch.zeros((int(beyond.sum()), embedded.shape[-1]), dtype=embedded.dtype, device=embedded.device)
        wanted = ids[beyond]
        for first in {
            firsts[bisect.bisect_right(firsts, id) - 1] for id in wanted.tolist() if firsts and id >= firsts[0]
        }:
            if (image := images[first]) is not None:  # else its request was dropped a moment ago
                own = (wanted >= first) & (wanted < first + len(image.rows))
                rows[own] = image.rows[wanted[own] - first].to(rows)
        embedded = embedded.clone()
        embedded[beyond] = rows
        return embedded

    def _put_positions(self, _: Any, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        own = [self._positions[key] for key, *_ in self._spans if key in self._positions]
        if not own:
            return None
        placed = inputs["position_ids"].long()[None].repeat(own[0].shape[0], 1, 1)
        at = 0
        for key, begin, count in self._spans:
            if (positions := self._positions.get(key)) is not None:
                placed[:, :, at : at + count] = longer(positions, begin + count)[..., begin : begin + count]
            at += count
        return args, inputs | {"position_ids": placed}
