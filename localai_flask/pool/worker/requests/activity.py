"""When an engine last had something to show for its requests, and how many it has had."""

from __future__ import annotations

import time


class Activity:
    """Written by the engine thread, read by the one that reports to the manager."""

    def __init__(self) -> None:
        self.taken = 0
        self._at = time.monotonic()

    @property
    def silence_s(self) -> float:
        """How long nothing has come in, and nothing out."""
        return time.monotonic() - self._at

    def take(self, requests: int = 1) -> None:
        """Note that requests have come in."""
        self.taken += requests
        self._at = time.monotonic()

    def bring(self) -> None:
        """Note that something has come of a request, be it a token, progress or its end."""
        self._at = time.monotonic()
