"""Text on its way to those who read it as it comes: pieces that follow each other fast go out together.

A piece costs each process on its way, down to the client's, some tenths of a millisecond, which small models write a
token in. No eye reads faster than a screen is drawn anew. For the engine thread alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from localai_flask.generation import Delta
from localai_flask.pool.messages import Answer
from localai_flask.pool.worker.requests.requests import Request


class TextGatherer:
    """Holds a request's text while its last piece is younger than `interval_s` returns.

    The first piece goes out at once, and with all that is no text goes what was held before it.
    """

    def __init__(self, interval_s: Callable[[], float]):
        self._interval_s = interval_s
        self._holding: dict[int, Request] = {}

    def __len__(self) -> int:
        """How many requests have text that is held."""
        return len(self._holding)

    def take(self, request: Request, reply: Answer, now: float) -> list[Answer]:
        """Return what goes out now that a request has got a reply."""
        held = self._holding.get(request.id)
        if not isinstance(reply, Delta):
            return [reply] if held is None else [self._let_go(request, now), reply]
        request.held_text = reply if request.held_text is None else request.held_text.followed_by(reply)
        if now - request.text_sent_at >= self._interval_s():
            return [self._let_go(request, now)]
        self._holding[request.id] = request
        return []

    def let_go_of_old(self, now: float, *, everything: bool = False) -> Iterator[tuple[Request, Delta]]:
        """Yield the text that has been held for long enough, or all of it."""
        for request in list(self._holding.values()):
            if everything or now - request.text_sent_at >= self._interval_s():
                yield request, self._let_go(request, now)

    def forget(self, request: Request) -> None:
        """Drop the text of a request that nobody waits for any more."""
        self._holding.pop(request.id, None)
        request.held_text = None

    def patience_s(self) -> float | None:
        """Return for how long all that is held may be held; None if nothing is."""
        if not self._holding:
            return None
        first = min(request.text_sent_at for request in self._holding.values())
        return max(first + self._interval_s() - time.monotonic(), 0.0)

    def _let_go(self, request: Request, now: float) -> Delta:
        self._holding.pop(request.id, None)
        text, request.held_text, request.text_sent_at = request.held_text, None, now
        assert text is not None
        return text
