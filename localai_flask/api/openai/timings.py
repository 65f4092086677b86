"""How fast an answer was made, in the words of llama.cpp's server; an extension of OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from localai_flask.api.openai import shapes
from localai_flask.chat.answer import Finish
from localai_flask.metrics.sequence_meter import Measured

SoFar = Callable[[int], Measured | None]
"""Returns the tokens of a choice up to now, and their time; None before the first."""


def timings(finishes: Sequence[Finish | Measured]) -> shapes.Timings:
    """Sum up sequences that ran side by side: their tokens together, in the time of the slowest."""
    prompt_n = sum(finish.usage.prompt_tokens - finish.usage.cached_tokens for finish in finishes)
    predicted_n = sum(finish.usage.completion_tokens for finish in finishes)
    prompt_ms = max((finish.timings.prompt_ms for finish in finishes), default=0.0)
    predicted_ms = max((finish.timings.decode_ms for finish in finishes), default=0.0)
    told = shapes.Timings(
        cache_n=sum(finish.usage.cached_tokens for finish in finishes),
        prompt_n=prompt_n,
        prompt_ms=round(prompt_ms, 3),
        prompt_per_token_ms=_ratio(prompt_ms, prompt_n),
        prompt_per_second=_ratio(1000 * prompt_n, prompt_ms),
        predicted_n=predicted_n,
        predicted_ms=round(predicted_ms, 3),
        predicted_per_token_ms=_ratio(predicted_ms, predicted_n),
        predicted_per_second=_ratio(1000 * predicted_n, predicted_ms),
    )
    if drafted := sum(finish.timings.draft_tokens for finish in finishes):
        told.draft_n = drafted
        told.draft_n_accepted = sum(finish.timings.accepted_tokens for finish in finishes)
    return told


def timed_alike(finish: Finish, so_far: Measured | None) -> Finish:
    """Return the end of an answer with its times measured as those of the chunks before: here, not by the engine.

    The clocks differ by what a token is on its way. Without such chunks it stays as it is.
    """
    if so_far is None:
        return finish
    prompt_ms, decode_ms = so_far.timings.prompt_ms, max(so_far.timings.decode_ms, finish.timings.decode_ms)
    told = msgspec.structs.replace(finish.timings, prompt_ms=prompt_ms, decode_ms=decode_ms)
    return msgspec.structs.replace(finish, timings=told)


def _ratio(one: float, other: float) -> float:
    return round(one / other, 3) if other else 0.0
