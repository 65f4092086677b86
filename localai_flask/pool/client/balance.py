"""Which of a model's workers a request goes to: the least busy one, or one that may have read its beginning before.

Knows numbers and texts only. Requests with the same beginning prefer the same worker, whose cache holds what it read;
by rendezvous hashing, so that a worker that comes or goes moves no more requests than its share.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import NamedTuple

BEGINNING = 1024
"""How many characters of a text decide where it goes."""
LONG = 512
"""From how many characters on it is worth to wait a little for a worker that has read them."""
SLACK = 1
"""How many more requests than the least busy worker such a worker may have."""
SLACK_SHARE = 0.25
"""The same, as a part of the least busy worker's requests, if that is more."""


class Choice(NamedTuple):
    """A worker that a request may go to, and how many requests it has."""

    worker_id: str
    load: int


def choose(choices: Sequence[Choice], text: str) -> int:
    """Return the index of the worker that a request with this text goes to."""
    least = min(choice.load for choice in choices)
    slack = max(SLACK, int(least * SLACK_SHARE)) if len(text) >= LONG else 0
    fit = [index for index, choice in enumerate(choices) if choice.load <= least + slack]
    if not text:
        return random.choice(fit)
    beginning = text[:BEGINNING].encode("utf-8", "surrogatepass")
    return max(fit, key=lambda index: _rank(choices[index].worker_id, beginning))


def _rank(worker_id: str, beginning: bytes) -> bytes:
    return hashlib.blake2b(beginning, digest_size=8, key=worker_id.encode()[:64]).digest()
