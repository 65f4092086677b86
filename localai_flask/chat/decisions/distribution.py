"""From the log-probabilities of labels to the probabilities of options, and to what families say of these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from localai_flask.chat.decisions.labels import Tokens
from localai_flask.errors import ApiError


@dataclass(frozen=True, slots=True)
class Distribution:
    """The probability of each option, 1 together, and that of the model's answer being any of them at all."""

    probabilities: tuple[float, ...]
    option_mass: float

    @property
    def likeliest(self) -> int:
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """From 0, where all options are equally likely, to 1, where one is certain."""
        count = len(self.probabilities)
        return max((count * max(self.probabilities) - 1) / (count - 1), 0.0)

    @property
    def mean(self) -> float:
        """The place on a scale that is to be expected, the first being 0."""
        return math.fsum(place * probability for place, probability in enumerate(self.probabilities))


def distribution(logprobs: Mapping[int, float], options: Sequence[Tokens]) -> Distribution:
    """Return how likely the options are by the log-probabilities of the tokens that stand for each.

    Raises `ApiError` for what is no probability.
    """
    logs = [[logprobs.get(token, -math.inf) for token in tokens] for tokens in options]
    highest = max(max(each) for each in logs)
    weights = [math.fsum(math.exp(value - highest) for value in each) for each in logs]
    total = math.fsum(weights)
    if not math.isfinite(total):
        raise ApiError("The model gave logits from which no probability can be told; its file may be damaged.")
    return Distribution(tuple(weight / total for weight in weights), min(math.exp(highest) * total, 1.0))


def averaged(found: Iterable[tuple[Sequence[int], Distribution]]) -> Distribution:
    """Return the mean of distributions over the same options, each of which was asked for in another order."""
    asked = list(found)
    sums = [0.0] * len(asked[0][0])
    for order, each in asked:
        for option, probability in zip(order, each.probabilities, strict=True):
            sums[option] += probability / len(asked)
    return Distribution(tuple(sums), math.fsum(each.option_mass for _, each in asked) / len(asked))
