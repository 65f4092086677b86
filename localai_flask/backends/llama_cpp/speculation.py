"""Speculative decoding: which way of guessing ahead a model uses, and how far it is worth it for a sequence.

Knows the ways by one verb, `propose`. Guesses are checked elsewhere; a wrong one costs time only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.llama_cpp.draft import DraftModel
from localai_flask.backends.llama_cpp.lookup import HistoryLookup, PoolLookup
from localai_flask.backends.llama_cpp.model import Model
from localai_flask.backends.llama_cpp.options import EngineOptions, SpeculationOptions
from localai_flask.backends.llama_cpp.sequence import Sequence
from localai_flask.errors import ConfigError

log = logging.getLogger(__name__)

SPLIT = 0.1
_OWN_PROGRAMS = "llama.cpp gives the inner states that it needs to its own programs only"
REFUSED = {
    "draft-mtp": _OWN_PROGRAMS,
    "draft-eagle3": _OWN_PROGRAMS,
    "draft-dflash": _OWN_PROGRAMS,
    "draft-dspark": _OWN_PROGRAMS,
    "ngram-cache": "its files of statistics are those of llama.cpp's own programs",
}
"""Ways of llama.cpp that are not offered here, and why."""


class Drafter(Protocol):
    """A way of guessing ahead."""

    @property
    def most(self) -> int:
        """How many tokens it guesses at most."""

    def propose(self, wanted: dict[Sequence, int]) -> None:
        """Set the guesses of these sequences, up to so many each; none is a good answer."""


LOOKUPS: dict[str, Callable[[SpeculationOptions], Drafter]] = {
    "ngram-simple": lambda own: HistoryLookup(
        own.spec_ngram_size_n, _most(own, own.spec_ngram_size_m), own.spec_ngram_min_hits
    ),
    "ngram-map-k": lambda own: HistoryLookup(
        own.spec_ngram_map_k_size_n, _most(own, own.spec_ngram_map_k_size_m), own.spec_ngram_map_k_min_hits
    ),
    "ngram-map-k4v": lambda own: HistoryLookup(
        own.spec_ngram_map_k4v_size_n,
        _most(own, own.spec_ngram_map_k4v_size_m),
        own.spec_ngram_map_k4v_min_hits,
        votes=True,
    ),
    "ngram-mod": lambda own: PoolLookup(
        own.spec_ngram_mod_n_match, _most(own, own.spec_ngram_mod_n_max), own.spec_ngram_mod_n_min
    ),
}


def _most(own: SpeculationOptions, size: int) -> int:
    """Give the most tokens to guess: what this way takes over at once, or fewer if all ways may guess but these."""
    return min(size, own.spec_n_max or size)


class Speculator:
    """Guesses for all running sequences before each step; the first way that has a guess for a sequence counts."""

    def __init__(self, drafters: list[Drafter], least: int = 0):
        self._drafters, self._least = drafters, least

    @classmethod
    def of(cls, options: EngineOptions, model: Model, progress: LoadProgress) -> Speculator | None:
        """Make what the options ask for; None if that is nothing.

        Raises `ConfigError` for what cannot be honoured, `ModelLoadFailed` if the draft model cannot be loaded.
        """
        own = options.speculation
        kinds = [kind for kind in own.spec_type if kind != "none"]
        _check(own, kinds)
        if not kinds or not model.generates:
            return None
        _check_memory(options, model)
        drafters: list[Drafter] = []
        for kind in kinds:
            if kind != "draft-simple":
                drafters.append(LOOKUPS[kind](own))
            elif own.draft_model is not None:
                drafters.append(DraftModel(own.draft_model, options, model, progress))
        most = max(drafter.most for drafter in drafters)
        if own.spec_n_min > most:
            raise _refusal(f"spec_n_min:{own.spec_n_min}", f"at most {most} tokens are guessed", "lower it")
        return cls(drafters, own.spec_n_min)

    def guess(self, sequences: list[Sequence]) -> None:
        """Set the guesses of these sequences, where there is reason to believe in them."""
        for drafter in self._drafters:
            wanted = {}
            for sequence in sequences:
                if not sequence.draft and (count := sequence.worth_guessing(drafter.most)) > 0:
                    wanted[sequence] = count
            if wanted:
                drafter.propose(wanted)
        for sequence in sequences:
            if len(sequence.draft) < self._least:
                sequence.draft = []

    def close(self) -> None:
        for drafter in self._drafters:
            if isinstance(drafter, DraftModel):
                drafter.close()


def _check(own: SpeculationOptions, kinds: list[str]) -> None:
    """Raise `ConfigError` for what cannot be honoured with any model."""
    for kind in kinds:
        if kind in REFUSED:
            raise _refusal(f"spec_type:{kind}", REFUSED[kind], f"choose one of draft-simple, {', '.join(LOOKUPS)}")
    if "draft-simple" in kinds and own.draft_model is None:
        raise _refusal("spec_type:draft-simple", "there is no draft model", "name one in `draft_model`")
    if own.draft_model is not None and "draft-simple" not in kinds:
        raise ConfigError(
            f"`draft_model` is not used with the option spec_type:{','.join(own.spec_type)}; add draft-simple, or "
            "remove `draft_model`.",
            param="draft_model",
        )
    if own.lookup_cache_static or own.lookup_cache_dynamic:
        raise _refusal("lookup_cache_static or lookup_cache_dynamic", REFUSED["ngram-cache"], "remove it")
    if own.spec_p_split != SPLIT:
        raise _refusal("spec_p_split", "guesses do not branch here", "remove it")
    if own.draft_ctx_size:
        log.info("draft_ctx_size has no effect: the draft model gets as much context as the model")


def _check_memory(options: EngineOptions, model: Model) -> None:
    """Raise `ConfigError` if the model cannot go back behind a wrong guess."""
    asked = f"spec_type:{','.join(options.speculation.spec_type)}"
    if model.is_recurrent:
        raise _refusal(asked, "this model keeps a state that cannot go back behind a wrong guess", "remove it")
    if model.window and not options.swa_full:
        raise _refusal(
            asked, "this model's cache forgets what a wrong guess has pushed out", "add the option swa_full:true"
        )


def _refusal(option: str, reason: str, advice: str) -> ConfigError:
    return ConfigError(f"The option {option} cannot be honoured: {reason}; {advice}.", param="options")
