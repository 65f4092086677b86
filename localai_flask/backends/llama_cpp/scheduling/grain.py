"""Where the prompt of a lone request may be cut, so that its logits have the same bits however it is cut.

Knows what llama.cpp's processor code computes together: some weights take 4 or 8 tokens of a batch at once and the
others one by one, a token alone takes another way than two, and flash attention takes tiles of 64.
"""

from __future__ import annotations

from dataclasses import dataclass

TOGETHER, LEAST = 16, 2
"""Cut at multiples of `TOGETHER` tokens, with `LEAST` or more in each part, plain attention has the same bits."""
TILE = 64
"""So has flash attention at multiples of its tile, with a whole one in each part."""


@dataclass(frozen=True, slots=True)
class Grain:
    """Prompts are cut at multiples of `step` tokens only, into parts of `least` to `most` tokens."""

    step: int
    least: int
    most: int

    @classmethod
    def of(cls, n_ubatch: int, *, flash: bool) -> Grain | None:
        """Return the grain of a context that computes `n_ubatch` tokens at once; None if it is too small for one."""
        step, least = (TILE, TILE) if flash else (TOGETHER, LEAST)
        most = n_ubatch // step * step
        return cls(step, least, most) if most >= step + least else None

    def floor(self, length: int, prompt_length: int) -> int:
        """Return how much of a beginning of that length a prompt may start from."""
        return max(min(length, prompt_length - self.least) // self.step * self.step, 0)

    def end(self, begin: int, budget: int, prompt_length: int) -> int:
        """Return where the part of a prompt ends that begins there and has about `budget` tokens."""
        room = min(max(budget, self.step), self.most)
        if prompt_length - begin <= room:
            return prompt_length
        end = self.floor(begin + room, prompt_length)
        return end if end > begin else prompt_length
