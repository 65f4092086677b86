"""How many prompt tokens a step may compute, so that a long prompt stops neither running streams nor the loop.

Knows durations only; measures them as it goes.
"""

from __future__ import annotations

import math

ALONE_S, LONE_S = 0.4, 1.0
"""Length of a step with prompts only, and with one prompt only: they bound how long a cancellation or a new request
waits. Behind 7,000 tokens, those of a prompt took SmolLM2 on two cores 9.0 ms each in steps of 64, 7.4 in steps of 128
or 192, 6.7 of 256, and 6.5 of 512.
"""
STRETCH, BESIDE_S = 4, 0.4
"""A step with prompts beside streams may take `STRETCH` times as long as one without, and `BESIDE_S` seconds."""
BURST_EVERY, BURSTS_SAVED = 100, 3
"""One step in `BURST_EVERY` beside streams may take the longest time if that computes short prompts as a whole, and
`BURSTS_SAVED` in a row: streams that begin together then run together, and each step computes more of them at once.
"""
TAIL = 2
"""A step with prompts only may compute this many times as many tokens if that ends them, within `LONE_S` or from one
tile on.
"""
TILE, TOO_SLOW = 64, 8
"""llama.cpp's attention on processors computes `TILE` tokens together; fewer take up to twice the time each, so that
prompts alone come in about a multiple of that, unless one tile takes more than `TOO_SLOW` times the aim. A lone prompt
comes in one, two, four tiles, and so on.
"""
FIRST_CHUNK, LEAST_CHUNK = 32, 4
SMOOTHING = 0.3


class Pace:
    """Learns what a prompt token and a step without prompts cost."""

    def __init__(self, most: int):
        self._most = most
        self._decode_s: dict[int, float] = {}
        self._inferred_s: dict[int, float] = {}
        """What steps beside prompts tell of those without, for numbers of streams that always had prompts beside."""
        self._token_s: float | None = None
        self._credit = BURSTS_SAVED * BURST_EVERY

    def budget(
        self,
        streams: int,
        prompt_tokens_remaining: int = 0,
        prompt_tokens_total: int = 0,
        *,
        is_lone: bool = False,
    ) -> int:
        """Return how many prompt tokens the next step may compute beside `streams` running ones.

        The total is what the waiting prompts have to compute altogether, the rest of which remains; with `is_lone`
        there is one prompt.
        """
        if self._token_s is None:
            return min(FIRST_CHUNK, self._most)
        seconds = LONE_S if is_lone else ALONE_S
        if streams:
            decode_s = self._decode(streams)
            seconds, longest = min(STRETCH * decode_s, BESIDE_S) - decode_s, BESIDE_S - decode_s
            is_short = max(prompt_tokens_remaining, prompt_tokens_total) * self._token_s <= BURSTS_SAVED * longest
            if is_short and seconds < prompt_tokens_remaining * self._token_s <= self._credit // BURST_EVERY * longest:
                seconds = longest
                self._credit -= BURST_EVERY
        tokens = max(int(seconds / self._token_s), LEAST_CHUNK)
        if not streams and TOO_SLOW * tokens >= TILE:
            tiles = 1 << max((tokens // TILE).bit_length() - 1, 0) if is_lone else max(round(tokens / TILE), 1)
            tokens, rest = tiles * TILE, prompt_tokens_remaining
            if tokens < rest <= TAIL * tokens and (tiles == 1 or rest * self._token_s <= LONE_S):
                tokens = rest
        return min(tokens, self._most)

    def seconds(self, prompt_tokens: int) -> float:
        """Return how long tokens of prompts take by themselves; infinity if that was never seen."""
        return math.inf if self._token_s is None else prompt_tokens * self._token_s

    def observe(self, prompt_tokens: int, streams: int, seconds: float) -> None:
        """Learn from the duration of a step."""
        if streams:
            self._credit = min(self._credit + 1, BURSTS_SAVED * BURST_EVERY)
        if prompt_tokens == 0:
            self._decode_s[streams] = _smooth(self._decode_s.get(streams), seconds)
        elif streams and streams not in self._decode_s and self._token_s is not None:
            own = max(seconds - prompt_tokens * self._token_s, self._at_least(streams))
            self._inferred_s[streams] = _smooth(self._inferred_s.get(streams), own)
        elif prompt_tokens >= LEAST_CHUNK:  # fewer tokens cost as much as one, so they tell nothing of the rate
            own = seconds - (self._decode(streams) if streams else 0.0)
            self._token_s = _smooth(self._token_s, max(own, seconds / 10) / prompt_tokens)

    def _decode(self, streams: int) -> float:
        """Return what a step without prompts takes, or at least takes if that number of streams was never seen."""
        return self._decode_s.get(streams) or self._inferred_s.get(streams) or self._at_least(streams)

    def _at_least(self, streams: int) -> float:
        """Judge a step without prompts by the next lower number of streams that was seen."""
        nearest = max((number for number in self._decode_s if number < streams), default=0)
        if not nearest:
            return min(self._decode_s.values(), default=0.0)
        return self._decode_s[nearest] + (streams - nearest) * (self._token_s or 0.0)


def _smooth(old: float | None, new: float) -> float:
    return new if old is None else old + SMOOTHING * (new - old)
