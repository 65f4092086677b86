"""llama.cpp's samplers in its order: those that change single tokens' logits, and those that narrow and choose.

Mirostat, which takes the place of all that narrow, is in mirostat.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary
from localai_flask.backends.llama_cpp.sampling.candidates import Candidates, Row
from localai_flask.backends.llama_cpp.sampling.narrowing import narrowing_for
from localai_flask.sampling_params import SamplingParams

OFF = 1.0
"""The repeat penalty that changes nothing."""
KEPT_DRY = 8

_dry_samplers: WeakKeyDictionary[Vocabulary, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()


class Chain:
    """A chain of samplers, which it owns."""

    def __init__(self, samplers: Iterable[Any]):
        self.handle = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for sampler in samplers:
            lib.llama_sampler_chain_add(self.handle, sampler)

    def accept(self, token: int) -> None:
        """Inform the samplers which token came next."""
        lib.llama_sampler_accept(self.handle, token)

    def close(self) -> None:
        lib.llama_sampler_free(self.handle)


def penalties_window(params: SamplingParams, context_size: int) -> int:
    """Return how many of the last tokens change the logits; 0 if none does."""
    return max(_repeat_window(params, context_size), _dry_window(params, context_size))


def penalizing(params: SamplingParams, vocabulary: Vocabulary, context_size: int, prompt: Sequence[int]) -> Chain:
    """Make the chain of what lowers tokens that occurred, in prompt or answer."""
    samplers = []
    if last := _repeat_window(params, context_size):
        samplers.append(
            lib.llama_sampler_init_penalties(
                vocabulary.size, last, params.repeat_penalty, params.frequency_penalty, params.presence_penalty
            )
        )
    if last := _dry_window(params, context_size):
        samplers.append(_dry(params, vocabulary, last))
    chain = Chain(samplers)
    for token in prompt[-penalties_window(params, context_size) :]:
        chain.accept(token)
    return chain


class Choice(Chain):
    """Narrows the vocabulary, then narrows the rest as all parameters say and chooses."""

    def __init__(self, params: SamplingParams, vocabulary: Vocabulary, seed: int):
        self._narrow, settled = narrowing_for(params, seed)
        super().__init__(_choosing(params, vocabulary, seed, settled))

    def choose(self, candidates: Candidates, row: Row) -> int | None:
        """Choose a token; None if none is possible."""
        self._narrow(candidates, row)
        return candidates.choose(self.handle) if candidates.count else None


def _choosing(params: SamplingParams, vocabulary: Vocabulary, seed: int, settled: str) -> list[Any]:
    """Make the samplers that end with a choice, without the one that is settled already."""
    makers: dict[str, tuple[bool, Callable[[], Any]]] = {
        "top_n_sigma": (params.top_n_sigma > 0, lambda: lib.llama_sampler_init_top_n_sigma(params.top_n_sigma)),
        "top_k": (params.top_k > 0, lambda: lib.llama_sampler_init_top_k(min(params.top_k, vocabulary.size))),
        "typ_p": (params.typical_p < 1, lambda: lib.llama_sampler_init_typical(params.typical_p, 1)),
        "top_p": (params.top_p < 1, lambda: lib.llama_sampler_init_top_p(params.top_p, 1)),
        "min_p": (params.min_p > 0, lambda: lib.llama_sampler_init_min_p(params.min_p, 1)),
        "xtc": (
            params.xtc_probability > 0,
            lambda: lib.llama_sampler_init_xtc(params.xtc_probability, params.xtc_threshold, 1, seed),
        ),
        "temperature": (
            True,
            lambda: lib.llama_sampler_init_temp_ext(
                params.temperature, params.dynatemp_range, params.dynatemp_exponent
            ),
        ),
    }
    order = [name for name in params.samplers or makers if name in makers and name != settled]
    samplers = [make() for is_on, make in map(makers.__getitem__, order) if is_on]
    if params.adaptive_target >= 0:
        samplers.append(lib.llama_sampler_init_adaptive_p(params.adaptive_target, params.adaptive_decay, seed))
    else:
        samplers.append(lib.llama_sampler_init_dist(seed))
    return samplers


def _repeat_window(params: SamplingParams, context_size: int) -> int:
    adds = params.frequency_penalty or params.presence_penalty
    is_on = bool(adds) or params.repeat_penalty != OFF
    return _last(params.repeat_last_n, context_size) if is_on else 0


def _dry_window(params: SamplingParams, context_size: int) -> int:
    return _last(params.dry_penalty_last_n, context_size) if params.dry_multiplier > 0 else 0


def _last(count: int, context_size: int) -> int:
    return context_size if count < 0 else min(count, context_size)


def _dry(params: SamplingParams, vocabulary: Vocabulary, last: int) -> Any:
    """Make a DRY sampler as the copy of an earlier one where there is one.

    The library looks for each sequence breaker in each token, which takes a large vocabulary most of a second.
    """
    breakers = params.dry_sequence_breakers
    key = (params.dry_multiplier, params.dry_base, params.dry_allowed_length, last, breakers)
    kept = _dry_samplers.setdefault(vocabulary, {})
    if key not in kept:
        if len(kept) == KEPT_DRY:
            lib.llama_sampler_free(kept.pop(next(iter(kept))))
        texts = (ctypes.c_char_p * len(breakers))(*(text.encode() for text in breakers))
        kept[key] = lib.llama_sampler_init_dry(vocabulary.handle, *key[:4], texts, len(breakers))
    return lib.llama_sampler_clone(kept[key])
