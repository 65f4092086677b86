"""How many prompt tokens a step may compute, so that a long prompt stops neither running streams nor the loop.

Knows durations only; measures them as it goes.
"""

from __future__ import annotations

ALONE_S = 0.5
"""Length of a step with prompts only: it bounds how long a cancellation or a new request waits."""
BESIDE_S = (0.05, 0.4)
"""Shortest and longest aim for a step that computes prompts beside running streams."""
STRETCH = 4
"""In between, such a step may take this many times as long as one without prompts."""
FIRST_CHUNK, LEAST_CHUNK = 32, 16
SMOOTHING = 0.3


class Pace:
    """Learns what a prompt token and a step without prompts cost."""

    def __init__(self, most: int):
        self._most = most
        self._decode_s: float | None = None
        self._token_s: float | None = None

    def budget(self, streams: int) -> int:
        """Tell how many prompt tokens the next step may compute beside so many running streams."""
        if self._token_s is None:
            return min(FIRST_CHUNK, self._most)
        decode_s = self._decode_s or 0.0
        seconds = ALONE_S
        if streams:
            least, longest = BESIDE_S
            seconds = min(max(STRETCH * decode_s, least), longest) - decode_s
        return max(min(int(seconds / self._token_s), self._most), min(LEAST_CHUNK, self._most))

    def observe(self, prompt_tokens: int, streams: int, seconds: float) -> None:
        """Learn from a step that took so many seconds."""
        if prompt_tokens == 0:
            self._decode_s = _smooth(self._decode_s, seconds)
        elif prompt_tokens >= LEAST_CHUNK:  # fewer tokens cost as much as one, so they tell nothing of the rate
            own = seconds - (self._decode_s or 0.0 if streams else 0.0)
            self._token_s = _smooth(self._token_s, max(own, seconds / 10) / prompt_tokens)


def _smooth(old: float | None, new: float) -> float:
    return new if old is None else old + SMOOTHING * (new - old)
