"""Log-probabilities of tokens, in the one shape that chat completions and Open Responses share."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from localai_flask.generation import TokenLogprob

LOWEST_LOGPROB = -9999.0
"""What OpenAI's API says for a token that was impossible; JSON has no minus infinity."""


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]


class Logprob(msgspec.Struct):
    """A token, and the likeliest ones in its place."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


def render_logprobs(logprobs: Iterable[TokenLogprob]) -> list[Logprob]:
    """Render tokens in their order."""
    rendered = []
    for entry in logprobs:
        top = [TopLogprob(shown(data), finite(logprob), list(data)) for _, data, logprob in entry.top]
        rendered.append(Logprob(shown(entry.text), finite(entry.logprob), list(entry.text), top))
    return rendered


def finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else LOWEST_LOGPROB


def shown(data: bytes) -> str:
    """Return a token's bytes as text; those of an unfinished character become replacement characters."""
    return data.decode("utf-8", "replace")
