"""Sequences that take turns: one forward pass at a time, each with a cache of its own, as in the library's `generate`.

For what the library cannot batch: recurrent and hybrid models, encoders with decoders, attention without a paged cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation import GenerationMode

from localai_flask.backends.token_choice.row_choice import Row, choose_tokens
from localai_flask.backends.token_choice.sampler import TokenSampler
from localai_flask.backends.transformers.generation.runner import Made
from localai_flask.backends.transformers.images.positions import longer
from localai_flask.backends.transformers.images.seen import SeenPrompt
from localai_flask.backends.transformers.loading.failures import LIBRARY, UNREADABLE, first_line
from localai_flask.errors import ModelLoadFailed

if TYPE_CHECKING:
    from localai_flask.backends.transformers.images.reader import ImageReader

PROBE = list(range(12))
PROBE_CHUNK = 5
TOLERANCE = {True: 0.01, False: 0.1}
"""By whether the model has 32-bit floats, what part of the logits may differ by rounding."""


@dataclass(eq=False)
class Continuation:
    """A text that the model reads on in pieces, and what the model keeps of it."""

    prompt: list[int]
    waiting: list[Tensor]
    """Pieces, shape (1, tokens), that the model has not seen."""
    inputs: dict[str, Any]
    """Arguments of every pass: the cache, and what an encoder has made of the prompt."""
    seen: Tensor | None = None
    whole: dict[str, Tensor] = field(default_factory=dict)
    """Arguments for each token of a prompt with images, of which a pass gets those of the tokens up to its last."""


@dataclass(eq=False)
class Turn:
    """A sequence's place among those that take turns."""

    key: str
    text: Continuation
    sampler: TokenSampler
    limit: int
    eos: frozenset[int]
    made: list[int] = field(default_factory=list)

    def history(self, last: int) -> list[int]:
        whole = [*self.text.prompt, *self.made]
        return whole if last < 0 else whole[-last:]


class Turns:
    """Runs sequences one after the other, a token or a piece of a prompt at a time."""

    runs_by_itself = False
    error = ""

    def __init__(self, model: Any, prompt_piece: int, reader: ImageReader | None = None):
        """`prompt_piece` is how many tokens are read at once, if the model reads pieces as it reads the whole."""
        self._passes = Passes(model, reader)
        self._turns: list[Turn] = []
        self.interleaves, reads_pieces = self._passes.check()
        """Whether a sequence may go on that another has run behind."""
        self._piece = prompt_piece if reads_pieces else None

    def add(self, key: str, prompt: SeenPrompt, sampler: TokenSampler, limit: int, eos: Iterable[int]) -> None:
        """Start a sequence that ends after `limit` tokens or one of `eos`."""
        self._turns.append(Turn(key, self._passes.begin(prompt, self._piece), sampler, limit, frozenset(eos)))

    def drop(self, key: str) -> None:
        """Forget a sequence, which may already have ended."""
        self._turns = [turn for turn in self._turns if turn.key != key]

    def collect(self, wait_s: float) -> tuple[list[Made], bool]:
        """Compute one pass of the sequence whose turn it is; raise `RuntimeError` if the library fails."""
        if not self._turns:
            return [], True
        turn = self._turns.pop(0)
        token = self._advance(turn)
        if token is None or not (token in turn.eos or len(turn.made) >= turn.limit):
            self._turns.append(turn)
        return [Made(turn.key, turn.made)] if token is not None else [], True

    def stop(self) -> None:
        self._turns.clear()

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _advance(self, turn: Turn) -> int | None:
        """Read the next piece; return the token behind it, if it was the last."""
        text = turn.text
        read = 0 if text.seen is None else text.seen.shape[1]
        size = text.waiting[0].shape[1]
        turn.sampler.watch(read + size, size)
        logits = self._passes.read(text)
        if text.waiting:
            return None
        (token,) = choose_tokens([Row(turn.sampler, turn.history)], logits)
        turn.made.append(token)
        text.waiting.append(torch.tensor([[token]], device=logits.device))
        return token


class Passes:
    """A model's forward passes with the arguments that the library's `generate` gives."""

    def __init__(self, model: Any, reader: ImageReader | None = None):
        self._model = model
        self._reader = reader
        takes = inspect.signature(model.forward).parameters
        self._counts = "position_ids" in takes and not model.config.is_encoder_decoder
        self._fixed: dict[str, Any] = {"use_cache": True} | ({"logits_to_keep": 1} if "logits_to_keep" in takes else {})

    def check(self) -> tuple[bool, bool]:
        """Return whether texts may be read in turns, and in pieces, by trying what the library promises for neither.

        Raises `ModelLoadFailed` if a text cannot be continued at all.
        """
        kind, is_exact = self._model.config.model_type, self._model.dtype.itemsize >= 4
        tolerance = TOLERANCE[is_exact and getattr(self._model, "hf_quantizer", None) is None]
        try:
            whole = self._try([PROBE])
            if _difference(whole, self._try([PROBE[:-1], PROBE[-1:]])) > tolerance:
                raise ModelLoadFailed(
                    f"{LIBRARY} gives other results for {kind!r} models with a cache than without; use another model."
                )
            in_turns = _difference(whole, self._try([PROBE[:-1], PROBE[-1:]], beside=PROBE[::-1])) <= tolerance
        except (*UNREADABLE, TypeError, IndexError) as error:
            raise ModelLoadFailed(f"{LIBRARY} cannot run the architecture {kind!r}: {first_line(error)}") from error
        try:
            in_pieces = _difference(whole, self._try([PROBE[:PROBE_CHUNK], PROBE[PROBE_CHUNK:]])) <= tolerance
        except (*UNREADABLE, TypeError, IndexError):
            in_pieces = False
        return in_turns, in_pieces

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _try(self, pieces: list[list[int]], beside: list[int] | None = None) -> Tensor:
        """Return the logits behind the last piece, before which another text may be read."""
        texts = [self.begin(SeenPrompt(ids), None) for ids in (PROBE, *([beside] if beside else []))]
        text = texts[0]
        text.waiting = [torch.tensor([piece], device=self._model.device) for piece in pieces]
        logits = self.read(text)
        for other in texts[1:]:
            self.read(other)
        while text.waiting:
            logits = self.read(text)
        return logits

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def begin(self, seen: SeenPrompt, piece: int | None) -> Continuation:
        """Prepare to read a prompt, in pieces of `piece` tokens or whole; all images are in the first."""
        model, inputs, ids = self._model, dict(self._fixed), seen.ids
        whole = torch.tensor([ids], device=model.device)
        waiting = [*whole.split(piece or len(ids), dim=1)]
        parts: dict[str, Tensor] = {}
        if seen.images and self._reader is not None:
            parts = self._reader.kinds(seen)
            inputs |= {key: value for key, value in self._reader.model_inputs(seen).items() if key not in parts}
            if self._counts and (positions := self._reader.positions(seen)) is not None:
                parts["position_ids"] = positions
            first = max(len(ids) - ids[::-1].index(self._reader.token), min(piece or len(ids), len(ids)))
            rest = whole[:, first:].split(piece or len(ids), dim=1) if first < len(ids) else ()
            waiting = [whole[:, :first], *rest]
        prompt = ids
        if model.config.is_encoder_decoder:
            inputs["attention_mask"] = torch.ones_like(whole)
            inputs["encoder_outputs"] = model.get_encoder()(
                input_ids=whole, attention_mask=inputs["attention_mask"], return_dict=True
            )
            waiting, prompt = [torch.tensor([[_first_of_decoder(model)]], device=model.device)], []
        model._prepare_cache_for_generation(GenerationConfig(), inputs, GenerationMode.SAMPLE, 1, len(ids))
        return Continuation(prompt, waiting, inputs, whole=parts)

    def read(self, text: Continuation) -> Tensor:
        """Read the next piece of a text; return the logits (1, vocabulary) behind it."""
        model, piece, is_first = self._model, text.waiting.pop(0), text.seen is None
        text.seen = piece if text.seen is None else torch.cat([text.seen, piece], dim=1)
        if text.whole:
            text.whole = {key: _longer(key, value, text.seen.shape[1]) for key, value in text.whole.items()}
            text.inputs |= {key: value[..., : text.seen.shape[1]] for key, value in text.whole.items()}
        elif self._counts:
            text.inputs["position_ids"] = torch.arange(text.seen.shape[1], device=piece.device)[None]
        elif model.config.is_encoder_decoder:
            text.inputs["decoder_attention_mask"] = torch.ones_like(text.seen)
        inputs = model.prepare_inputs_for_generation(
            text.seen, next_sequence_length=piece.shape[1], is_first_iteration=is_first, **text.inputs
        )
        outputs = model(**inputs, return_dict=True)
        text.inputs = model._update_model_kwargs_for_generation(
            outputs, text.inputs, is_encoder_decoder=model.config.is_encoder_decoder
        )
        logits: Tensor = outputs.logits[:, -1].float()
        return logits


def _longer(key: str, values: Tensor, length: int) -> Tensor:
    """Go on with an argument for the tokens behind a prompt, which are all text."""
    if key == "position_ids":
        return longer(values, length)
    missing = max(length - values.shape[-1], 0)
    return torch.nn.functional.pad(values, (0, missing))


def _first_of_decoder(model: Any) -> int:
    """Return the token with which an answer begins that is read from an encoder."""
    settings = model.generation_config
    first = settings.decoder_start_token_id
    first = first if first is not None else settings.bos_token_id
    return int(first[0] if isinstance(first, list) else first or 0)


def _difference(logits: Tensor, others: Tensor) -> float:
    """Return how far logits lie apart, as a part of how far they spread."""
    return float((logits - others).norm() / (logits - logits.mean()).norm().clamp_min(1e-9))
