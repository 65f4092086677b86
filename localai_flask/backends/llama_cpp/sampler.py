"""How a sequence's next token is chosen: a chain of llama.cpp's samplers; and the log-probabilities of the choice.

Knows one sequence at a time, and neither text nor stop strings.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from localai_flask.backends.llama_cpp.batch import Logits
from localai_flask.backends.llama_cpp.constraint import Guide
from localai_flask.backends.llama_cpp.library import lib
from localai_flask.backends.llama_cpp.vocabulary import Vocabulary
from localai_flask.errors import InvalidRequest
from localai_flask.generation import SamplingParams, TokenLogprob

RANDOM_SEEDS = 0xFFFFFFFF
"""One less than there are seeds: llama.cpp takes the last one for "choose at random"."""
BANNED = float("-inf")
NEGLIGIBLE = 1e-30
OFF = 1.0
"""The repeat penalty that changes nothing; 0 is a usual way to write it."""


def check_sampling(params: SamplingParams, vocabulary: Vocabulary) -> None:
    """Raise `InvalidRequest` for values that the samplers cannot take."""
    for token in params.logit_bias:
        if not 0 <= token < vocabulary.size:
            raise InvalidRequest(
                f"`logit_bias` names token {token}, but this model's ids run from 0 to {vocabulary.size - 1}.",
                param="logit_bias",
            )
    if params.repeat_penalty < 0:
        raise InvalidRequest("`repeat_penalty` must not be negative; 1 switches it off.", param="repeat_penalty")


class Sampler:
    """Chooses the tokens of one sequence; it may hold C memory until `close`.

    The choice of the highest logit needs no chain: numpy finds it twenty times as fast as one, which begins by copying
    the candidates of the whole vocabulary.
    """

    def __init__(
        self,
        params: SamplingParams,
        vocabulary: Vocabulary,
        logits: Logits,
        context_size: int,
        prompt: Sequence[int],
        *,
        guide: Guide | None = None,
    ):
        """Build a chain in llama.cpp's order; the penalties count the prompt's last tokens too."""
        self._vocabulary, self._logits = vocabulary, logits
        self._guide = guide
        self._keeps_logits = params.top_logprobs is not None
        biases = _biases(params, vocabulary)
        self._biased = np.array(list(biases), np.intp)
        self._bias = np.array(list(biases.values()), np.float32)
        self._chain: Any = None
        last = context_size if params.repeat_last_n < 0 else min(params.repeat_last_n, context_size)
        if params.temperature > 0 or (last and _has_penalties(params)):
            self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
            self._add_biases(biases)
            self._add_penalties(params, last, prompt)
            self._add_choice(params)

    def sample(self, index: int) -> int:
        """Choose from the logits at a batch index, and remember the choice for the penalties.

        Raises `InvalidRequest` if the answer cannot be held to its form any longer.
        """
        if self._guide is None:
            return self._choose(index)
        row = self._logits.row(index)
        raw = row.copy() if self._keeps_logits else None
        token = self._choose_guided(index, row, self._guide)
        self._guide.accept(token)
        if raw is not None:
            row[:] = raw
        return token

    def _choose(self, index: int) -> int:
        if self._chain is None:
            return self._highest(index)
        token: int = lib.llama_sampler_sample(self._chain, self._logits.context, index)
        return token

    def _choose_guided(self, index: int, row: npt.NDArray[np.float32], guide: Guide) -> int:
        """Choose among the tokens that may follow.

        Drawn by chance, a token comes from the distribution without all others: to draw first and mask only if the
        token is refused would be another one, as the first draw's chain cuts off what the mask may need. The highest
        logit is the same either way, and nearly always allowed.
        """
        if not guide.is_armed:
            while not guide.allows(token := self._choose(index)):
                row[token] = BANNED
            return token
        if self._chain is None and guide.allows(token := self._highest(index)):
            return token
        row[~guide.allowed()] = BANNED
        row[self._biased[self._bias == BANNED]] = BANNED
        if row.max() == BANNED:
            raise InvalidRequest("The answer's form leaves no token that the model may choose; ask for another form.")
        token = self._choose(index)
        return self._highest(index) if row[token] == BANNED else token

    def logprob(self, index: int, token: int, top: int) -> TokenLogprob:
        """Give a token's log-probability and the `top` best ones, before sampling, from the logits at a batch index."""
        logits, piece = self._logits.row(index), self._vocabulary.piece
        highest = logits.max()
        scale = highest + np.log(np.exp(logits - highest).sum(dtype=np.float64))
        count = min(top, len(logits))
        best = np.argpartition(logits, -count)[-count:] if count else np.empty(0, np.int64)
        ranked = best[np.argsort(-logits[best], kind="stable")].tolist()
        alternatives = [(other, piece(other), float(logits[other] - scale)) for other in ranked]
        return TokenLogprob(token, piece(token), float(logits[token] - scale), alternatives)

    def close(self) -> None:
        if self._chain is not None:
            lib.llama_sampler_free(self._chain)
            self._chain = None

    def _highest(self, index: int) -> int:
        row = self._logits.row(index)
        if not len(self._biased):
            return int(row.argmax())
        raw = row[self._biased]
        row[self._biased] = raw + self._bias
        token = int(row.argmax())
        row[self._biased] = raw  # log-probabilities are read from the same memory, and are the model's own
        return token

    def _add(self, sampler: Any) -> None:
        lib.llama_sampler_chain_add(self._chain, sampler)

    def _add_biases(self, biases: dict[int, float]) -> None:
        if biases:
            array = (lib.llama_logit_bias * len(biases))(*biases.items())
            self._add(lib.llama_sampler_init_logit_bias(self._vocabulary.size, len(biases), array))

    def _add_penalties(self, params: SamplingParams, last: int, prompt: Sequence[int]) -> None:
        if not (last and _has_penalties(params)):
            return
        repeat = params.repeat_penalty or OFF
        penalties = lib.llama_sampler_init_penalties(
            self._vocabulary.size, last, repeat, params.frequency_penalty, params.presence_penalty
        )
        for token in prompt[-last:]:
            lib.llama_sampler_accept(penalties, token)
        self._add(penalties)

    def _add_choice(self, params: SamplingParams) -> None:
        if params.temperature <= 0:
            self._add(lib.llama_sampler_init_greedy())
            return
        if params.top_k > 0:  # before the others, so that these see few candidates of a large vocabulary
            self._add(lib.llama_sampler_init_top_k(min(params.top_k, self._vocabulary.size)))
        if params.typical_p < 1:
            if self._guide is not None:  # masked candidates would make its entropy not a number
                self._add(lib.llama_sampler_init_min_p(NEGLIGIBLE, 1))
            self._add(lib.llama_sampler_init_typical(params.typical_p, 1))
        if params.top_p < 1:
            self._add(lib.llama_sampler_init_top_p(params.top_p, 1))
        if params.min_p > 0:
            self._add(lib.llama_sampler_init_min_p(params.min_p, 1))
        if params.temperature != 1:
            self._add(lib.llama_sampler_init_temp(params.temperature))
        seed = random.randrange(RANDOM_SEEDS) if params.seed == -1 else params.seed % RANDOM_SEEDS
        self._add(lib.llama_sampler_init_dist(seed))


def _biases(params: SamplingParams, vocabulary: Vocabulary) -> dict[int, float]:
    banned = [*vocabulary.suppressed, *(vocabulary.ends if params.ignore_eos else ())]
    return {**params.logit_bias, **dict.fromkeys(banned, BANNED)}


def _has_penalties(params: SamplingParams) -> bool:
    return params.repeat_penalty not in (0, OFF) or bool(params.frequency_penalty or params.presence_penalty)
