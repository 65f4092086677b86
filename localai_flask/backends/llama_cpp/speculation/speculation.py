"""Speculative decoding: which way of guessing ahead a model uses, and how far it is worth it for a sequence.

Knows the ways by one verb, `propose`. Guesses are checked elsewhere; a wrong one costs time only.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Protocol

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.options.options import EngineOptions, SpeculationOptions
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence
from localai_flask.backends.llama_cpp.speculation.draft_model import DraftModel
from localai_flask.backends.llama_cpp.speculation.ngrams import HistoryLookup, PoolLookup
from localai_flask.errors import ConfigError, ModelLoadFailed

log = logging.getLogger(__name__)


class Drafter(Protocol):
    """A way of guessing ahead."""

    @property
    def most(self) -> int:
        """How many tokens it guesses at most."""

    def propose(self, wanted: dict[Sequence, int]) -> None:
        """Set the guesses of the sequences, for each no more than `wanted` says; none is a good answer."""


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
    """Return the most tokens to guess: what this way takes over at once, or fewer if all ways may guess but these."""
    return min(size, own.spec_n_max or size)


class Speculator:
    """Guesses for all running sequences before each step; the first way that has a guess for a sequence counts."""

    def __init__(self, drafters: list[Drafter], least: int = 0):
        self._drafters, self._least = drafters, least

    @classmethod
    def of(cls, options: EngineOptions, model: Model, progress: LoadProgress) -> Speculator | None:
        """Make what the options ask for and what is possible with the model; None if that is nothing.

        Guessing is a matter of speed: what cannot be had is logged.
        """
        own = options.speculation
        if not own.spec_type or not model.generates:
            return None
        if obstacle := _obstacle(options, model):
            log.warning("the option spec_type:%s has no effect: %s", ",".join(own.spec_type), obstacle)
            return None
        drafters: list[Drafter] = [LOOKUPS[kind](own) for kind in own.spec_type if kind in LOOKUPS]
        if own.draft_model is not None:
            place = own.spec_type.index("draft-simple")
            try:
                drafters.insert(place, DraftModel(own.draft_model, options, model, progress))
            except (ConfigError, ModelLoadFailed) as error:
                log.warning("`draft_model` has no effect: %s", error)
        if not drafters:
            return None
        most = max(drafter.most for drafter in drafters)
        if own.spec_n_min > most:
            log.warning("spec_n_min:%d has no effect, as at most %d tokens are guessed", own.spec_n_min, most)
        return cls(drafters, own.spec_n_min if own.spec_n_min <= most else 0)

    def guess(self, sequences: list[Sequence]) -> None:
        """Set the guesses of these sequences, where there is reason to believe in them."""
        for drafter in self._drafters:
            wanted = {}
            for sequence in sequences:
                if sequence.images and isinstance(drafter, DraftModel):
                    continue  # it sees no images
                if not sequence.draft and (count := sequence.worth_guessing(drafter.most)) > 0:
                    wanted[sequence] = count
            if wanted:
                drafter.propose(wanted)
            for sequence in wanted:
                if min(sequence.draft, default=0) < 0:  # what stands for an image cannot follow
                    sequence.draft = list(itertools.takewhile(lambda token: token >= 0, sequence.draft))
        for sequence in sequences:
            if len(sequence.draft) < self._least:
                sequence.draft = []

    def observe(self, streams: int, seconds: float) -> None:
        """Learn how long a step of running streams takes with nothing beside them."""
        for drafter in self._drafters:
            if isinstance(drafter, DraftModel):
                drafter.observe(streams, seconds)

    def close(self) -> None:
        for drafter in self._drafters:
            if isinstance(drafter, DraftModel):
                drafter.close()


def _obstacle(options: EngineOptions, model: Model) -> str:
    """Return why the model cannot go back behind a wrong guess; "" if it can."""
    if model.is_recurrent:
        return "this model keeps a state that cannot go back behind a wrong guess"
    if model.window and not options.swa_full:
        return "this model's cache forgets what a wrong guess has pushed out; add the option swa_full:true"
    return ""
