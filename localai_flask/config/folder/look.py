"""When somebody looked at the models folder, so that of two views of a model the later one can be known."""

from __future__ import annotations

import math
from typing import NamedTuple


class Look(NamedTuple):
    """The moments of the monotonic clock, which all processes share, between which a folder was read."""

    begun: float
    ended: float

    def is_after(self, other: Look) -> bool:
        """Return whether what this look found is surely newer; not so for two looks at the same time."""
        return self.begun > other.ended


NEVER = Look(-math.inf, -math.inf)
"""The look of who no longer finds in the folder what it has: it comes before all others."""
