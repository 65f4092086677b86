"""`best_of`: of several answers to each prompt, the most probable."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from localai_flask.chat.answer import Answer
from localai_flask.sampling_params import SamplingParams


def judged(params: SamplingParams) -> SamplingParams:
    """Have the engine return the log-probabilities by which answers are judged."""
    return params if params.top_logprobs is not None else msgspec.structs.replace(params, top_logprobs=0)


def best(answers: Sequence[Answer], count: int, n: int) -> list[Answer]:
    """Of each `count` answers keep the `n` whose tokens are the most probable on average, the best first."""
    groups = [answers[begin : begin + count] for begin in range(0, len(answers), count)]
    return [answer for group in groups for answer in sorted(group, key=_mean_logprob, reverse=True)[:n]]


def _mean_logprob(answer: Answer) -> float:
    return sum(entry.logprob for entry in answer.logprobs) / (len(answer.logprobs) or 1)
