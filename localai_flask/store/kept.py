"""What responses and conversations are kept as: items under ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

ENDED = ("completed", "failed", "incomplete", "cancelled")
"""Each status of a response that no longer changes."""
ANSWERED = ("completed", "incomplete")
"""Each status of a response that has become a turn of its conversation."""
ID = re.compile(r"[\x21-\x7e]{1,96}")
"""What can be an id: others are not even looked up, as databases refuse NUL and what is longer than the column."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An item: its id, and its JSON."""

    id: str
    body: bytes


def size_of(kept: Sequence[Kept]) -> int:
    return sum(len(each.body) for each in kept)


def by(count: int, ids: Sequence[T]) -> list[Sequence[T]]:
    """Return ids, or rows, in lists of at most this many, as statements take them."""
    return [ids[at : at + count] for at in range(0, len(ids), count)]
