"""What one web worker has still to be told, while its ring has no room."""

from __future__ import annotations

import logging
import threading
import time

from localai_flask.generation import Delta
from localai_flask.pool import messages
from localai_flask.pool.channel import Channel, ChannelGone, Hub
from localai_flask.pool.messages import Answer

log = logging.getLogger(__name__)

LONGEST_BACKLOG_S = 10.0


class Outbox:
    """Sends at once while there is room; else keeps the answers, with the deltas of each request merged into one.

    A slow reader so costs neither the batch a wait nor the worker more memory than the text itself.
    """

    def __init__(self, channel: Channel, hub: Hub):
        self._channel = channel
        self._hub = hub
        self._lock = threading.Lock()
        self._kept: dict[int, list[Answer]] = {}
        self._kept_since = 0.0

    def send(self, answers: list[tuple[int, Answer]]) -> None:
        """Send or keep; any thread, never waits for the reader."""
        with self._lock:
            if not self._kept and self._try(answers):
                return
            if not self._kept:
                self._kept_since = time.monotonic()
                self._hub.watch_room(self._channel)
            for request_id, answer in answers:
                _merge(self._kept.setdefault(request_id, []), answer)

    def flush(self) -> bool:
        """Send what was kept, as far as there is room; False if the reader has been stuck for too long."""
        with self._lock:
            for request_id in list(self._kept):
                if not self._try([(request_id, answer) for answer in self._kept[request_id]]):
                    self._hub.watch_room(self._channel)
                    return time.monotonic() - self._kept_since < LONGEST_BACKLOG_S
                del self._kept[request_id]
                self._kept_since = time.monotonic()
            return True

    def _try(self, answers: list[tuple[int, Answer]]) -> bool:
        try:
            return self._channel.try_send(messages.encode(answers))
        except ChannelGone:
            return True  # the hub reports it, and then its requests are cancelled


def _merge(kept: list[Answer], answer: Answer) -> None:
    last = kept[-1] if kept else None
    if isinstance(answer, Delta) and isinstance(last, Delta):
        kept[-1] = last.followed_by(answer)
    else:
        kept.append(answer)
