"""Where the tokens of a text with images are, in as many dimensions as its model counts."""

from __future__ import annotations

import torch
from torch import Tensor


def longer(positions: Tensor, length: int) -> Tensor:
    """Return the positions of a text that has become longer: from the last they count on by one."""
    missing = length - positions.shape[-1]
    if missing <= 0:
        return positions
    steps = torch.arange(1, missing + 1, device=positions.device, dtype=positions.dtype)
    return torch.cat([positions, positions[..., -1:] + steps], dim=-1)
