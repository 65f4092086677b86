"""One request's parameters and state of sampling: what changes its logits, and what it makes of a chosen token.

Knows parameters, rules and random numbers; logits are the business of `row_choice`, where many of these meet.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from localai_flask.backends.grammars.guide import Guide
from localai_flask.backends.hugging_face.thinking import LimitedThinking
from localai_flask.backends.output.rules import OutputRules
from localai_flask.errors import ApiError
from localai_flask.sampling_params import SamplingParams

Logprob = tuple[int, float, list[tuple[int, float]]]
"""A token, its log-probability, and the best tokens with theirs."""
Mask = npt.NDArray[np.bool_]
TAKEN = frozenset(
    (
        *("min_p", "typical_p", "repeat_penalty", "frequency_penalty", "presence_penalty", "no_repeat_ngram_size"),
        *("min_tokens", "t_max_predict_ms", "ignore_eos", "stop_token_ids", "include_stop_str_in_output", "bad_words"),
        *("banned_strings", "allowed_token_ids", "logit_bias", "top_logprobs", "logprob_token_ids"),
    )
)
"""The parameters that are honoured here, beside those that every engine takes."""


@dataclass(eq=False)
class TokenSampler:
    """One request's part in each choice; written to by the thread that runs the model."""

    params: SamplingParams
    banned: Collection[int] = ()
    """Tokens that are never chosen."""
    begun: float | None = None
    """When it was first computed, on the clock of `time.monotonic()`."""
    num_cached: int = 0
    """How many leading prompt tokens were found in the cache."""
    processed: int = 0
    """How many tokens lie in the cache."""
    logprobs: list[Logprob] = field(default_factory=list)
    """One entry for each chosen token, if they were asked for."""
    broken: bool = False
    """Whether the model gave numbers from which nothing can be chosen."""
    guide: Guide | None = None
    """What the sequence may say."""
    thinking: LimitedThinking | None = None
    rules: OutputRules | None = None
    failure: ApiError | None = None
    """Why the sequence cannot go on."""

    def __post_init__(self) -> None:
        seed = self.params.seed
        self.random = np.random.default_rng(None if seed == -1 else seed % 2**64)
        self._others: Mask | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be chosen for it."""
        return self.broken or self.failure is not None

    def check(self) -> None:
        """Raise `ApiError` if the sequence cannot go on."""
        if self.failure is not None:
            raise self.failure
        if self.broken:
            raise ApiError("The model computed numbers that are not finite; use `dtype: float32` or check its weights.")

    @property
    def penalizes(self) -> bool:
        params = self.params
        adds = params.frequency_penalty != 0.0 or params.presence_penalty != 0.0
        return params.repeat_last_n != 0 and (adds or params.repeat_penalty != 1.0)

    def watch(self, total: int, new: int) -> None:
        """Note that `new` tokens are about to be processed, after which `total` lie in the cache."""
        if self.begun is None:
            self.num_cached = total - new
            self.begun = time.monotonic()
        self.processed = total - new

    def forced(self) -> int | None:
        """Return the token that has to come next whatever the model says: it ends thinking, or an answer."""
        forced = self.thinking.forced(self.guide) if self.thinking is not None else None
        if forced is None and self.banned and self.guide is not None and self.guide.is_complete:
            return min(self.banned)  # also who ignores the end of text has an end to a form
        return forced

    def forbidden(self) -> list[int]:
        """Return single tokens that may not come next."""
        return [*self.banned, *(self.rules.banned() if self.rules is not None else ())]

    def mask(self, size: int) -> Mask | None:
        """Return which tokens of a vocabulary may not come next, shape (size,); None: see `forbidden` and `allows`.

        Raises `ApiError` if the form cannot be kept any longer.
        """
        masks = [self._mask_of_others(size)] if self.params.allowed_token_ids else []
        if self.guide is not None and self.guide.is_armed:
            allowed = self.guide.allowed()[:size]
            masks.append(np.concatenate([~allowed, np.ones(size - len(allowed), np.bool_)]))
        return np.logical_or.reduce(masks) if masks else None

    def allows(self, token: int) -> bool:
        """Return whether a token may follow that the mask does not forbid."""
        is_in_form = self.guide is None or self.guide.is_armed or self.guide.allows(token)
        return is_in_form and (self.rules is None or self.rules.allows(token))

    def accept(self, token: int) -> None:
        """Take the token that comes next."""
        if self.rules is not None:
            self.rules.accept(token)
        if self.thinking is not None:
            self.thinking.feed(token)
        if self.guide is not None:
            self.guide.accept(token)

    def _mask_of_others(self, size: int) -> Mask:
        if self._others is None or len(self._others) != size:
            self._others = np.ones(size, np.bool_)
            self._others[list(self.params.allowed_token_ids)] = False
        return self._others
