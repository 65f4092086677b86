"""How many prompt tokens a step may compute, so that a long prompt stops neither running streams nor the loop.

Knows durations only; measures them as it goes.
"""

from __future__ import annotations

ALONE_S = 0.4
"""Length of a step with prompts only: it bounds how long a cancellation or a new request waits."""
STRETCH, BESIDE_S = 4, 0.4
"""A step that computes prompts beside running streams may take this many times as long as one without, and so long."""
RARE, SAVED = 100, 3
"""One step in so many beside streams may take the longest time in any case, and so many in a row if that computes
short prompts as a whole: streams that begin together then run together, and each step computes more of them at once.
"""
TAIL = 2
"""A step with prompts only may compute this many times as many tokens if that ends them."""
TILE, TOO_SLOW = 64, 8
"""llama.cpp's attention on processors computes as many tokens together; fewer take up to twice the time each, so that
prompts alone come in about a multiple of that, unless it takes so many times the aim.
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
        self._credit = SAVED * RARE

    def budget(self, streams: int, left: int = 0, whole: int = 0) -> int:
        """Return how many prompt tokens the next step may compute beside so many running streams.

        So many are `left` of prompts that have to compute this many as a `whole`.
        """
        if self._token_s is None:
            return min(FIRST_CHUNK, self._most)
        seconds = ALONE_S
        if streams:
            decode_s = self._decode(streams)
            seconds, longest = min(STRETCH * decode_s, BESIDE_S) - decode_s, BESIDE_S - decode_s
            is_short = max(left, whole) * self._token_s <= SAVED * longest
            if is_short and seconds < left * self._token_s <= self._credit // RARE * longest:
                seconds = longest
                self._credit -= RARE
        tokens = max(int(seconds / self._token_s), LEAST_CHUNK)
        if not streams and TOO_SLOW * tokens >= TILE:
            tokens = max(round(tokens / TILE), 1) * TILE
            tokens = left if tokens < left <= TAIL * tokens else tokens
        return min(tokens, self._most)

    def observe(self, prompt_tokens: int, streams: int, seconds: float) -> None:
        """Learn from a step that took so many seconds."""
        if streams:
            self._credit = min(self._credit + 1, SAVED * RARE)
        if prompt_tokens == 0:
            self._decode_s[streams] = _smooth(self._decode_s.get(streams), seconds)
        elif streams and streams not in self._decode_s and self._token_s is not None:
            own = max(seconds - prompt_tokens * self._token_s, self._at_least(streams))
            self._inferred_s[streams] = _smooth(self._inferred_s.get(streams), own)
        elif prompt_tokens >= LEAST_CHUNK:  # fewer tokens cost as much as one, so they tell nothing of the rate
            own = seconds - (self._decode(streams) if streams else 0.0)
            self._token_s = _smooth(self._token_s, max(own, seconds / 10) / prompt_tokens)

    def _decode(self, streams: int) -> float:
        """Return what a step without prompts takes, or at least takes if so many streams were never seen."""
        return self._decode_s.get(streams) or self._inferred_s.get(streams) or self._at_least(streams)

    def _at_least(self, streams: int) -> float:
        """Judge a step without prompts by the next lower number of streams that was seen."""
        nearest = max((number for number in self._decode_s if number < streams), default=0)
        if not nearest:
            return min(self._decode_s.values(), default=0.0)
        return self._decode_s[nearest] + (streams - nearest) * (self._token_s or 0.0)


def _smooth(old: float | None, new: float) -> float:
    return new if old is None else old + SMOOTHING * (new - old)
