"""Asks a source again that is busy for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from localai_flask.gallery.errors import SourceUnreachable

T = TypeVar("T")
TRIES = 3
PAUSE_S = 1.0
LONGEST_PAUSE_S = 20.0
"""As much of what a server asks for by `Retry-After` is waited; who wants the model waits for it."""


def retry(ask: Callable[[], T]) -> T:
    """Return the answer; raise what the last try raises."""
    for number in range(1, TRIES):
        try:
            return ask()
        except SourceUnreachable as error:
            wanted = error.asked_for or PAUSE_S * number
            time.sleep(min(wanted, LONGEST_PAUSE_S))
    return ask()
