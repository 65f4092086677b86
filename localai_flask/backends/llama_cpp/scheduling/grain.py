"""Where the prompt of a lone request may be cut, so that its logits have the same bits however it is cut.

Knows what llama.cpp's processor code computes together: some weights take 4 or 8 tokens of a batch at once and the
others one by one, a token alone takes another way than two, and flash attention takes tiles of 64.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST = 2
"""A token alone has other bits than two together, so that no part is smaller."""
TOGETHER = 16
"""Cut at multiples of `TOGETHER` tokens, plain attention has the same bits."""
TILE = 64
"""Flash attention computes whole tiles of as many tokens in one way, and what is less in another."""


@dataclass(frozen=True, slots=True)
class Grain:
    """Prompts are cut at multiples of `step` tokens only, into parts of up to `most` tokens."""

    step: int
    most: int
    cuts_tail: bool = False
    """Whether what is behind the last multiple is always a part of its own."""

    @classmethod
    def of(cls, n_ubatch: int, *, flash: bool) -> Grain | None:
        """Return the grain of a context that computes `n_ubatch` tokens at once; None if it is too small for one."""
        step = TILE if flash else TOGETHER
        most = n_ubatch // step * step
        return cls(step, most, flash) if most >= step + LEAST else None

    def floor(self, length: int, prompt_length: int) -> int:
        """Return how much of a beginning of that length a prompt may start from."""
        return max(min(length, prompt_length - LEAST) // self.step * self.step, 0)

    def end(self, begin: int, budget: int, prompt_length: int) -> int:
        """Return where the part of a prompt ends that begins there and has about `budget` tokens."""
        room = min(max(budget, self.step), self.most)
        last = self.floor(prompt_length, prompt_length)
        if begin >= last or (prompt_length - begin <= room and not self.cuts_tail):
            return prompt_length
        return self.floor(begin + room, prompt_length)
