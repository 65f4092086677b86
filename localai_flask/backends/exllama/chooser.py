"""The next token of one sequence, chosen by what all engines share in the place of the libraries' samplers.

Those differ between the two libraries and from the other engines, draw from one random stream and know no forms with
triggers. Both libraries have a place where a sequence's logits can be taken over: a filter, and a sampler.
"""

from __future__ import annotations

import torch

from localai_flask.backends.token_choice.row_choice import Row, choose_tokens
from localai_flask.backends.token_choice.sampler import TokenSampler


class Chooser:
    """Chooses for one sequence, once for each position; `made` are the tokens so far."""

    def __init__(self, sampler: TokenSampler, prompt: list[int], size: int):
        """`size` is how many ids stand for something: the logits may be more, to have a round number."""
        self.sampler, self._prompt, self._size = sampler, prompt, size
        self.made: list[int] = []

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def choose(self, logits: torch.Tensor) -> int:
        """Choose from logits of any shape, which are left as they are; a fault is noted in the sampler."""
        row = logits.reshape(1, -1)[:, : self._size].float().clone()
        (token,) = choose_tokens([Row(self.sampler, self._history)], row)
        self.made.append(token)
        return token

    def _history(self, last: int) -> list[int]:
        whole = [*self._prompt, *self.made]
        return whole if last < 0 else whole[-last:] if last else []
