"""What the other end of a channel has still to be told, while its ring has no room."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from localai_flask.generation import Delta
from localai_flask.pool import messages
from localai_flask.pool.channel import Channel, ChannelGone, Hub
from localai_flask.pool.messages import Message

LONGEST_BACKLOG_S = 10.0
"""How long the other end may take nothing before it counts as stuck."""


class Outbox:
    """Sends at once while there is room; else keeps the messages, with the deltas of each request merged into one.

    A slow reader so costs neither the batch a wait nor the sender more memory than the text itself. What was kept goes
    out when the thread that receives on the hub calls `flush`, at each ROOM.
    """

    def __init__(self, channel: Channel, hub: Hub):
        self._channel = channel
        self._hub = hub
        self._lock = threading.Lock()
        self._kept: dict[int, list[tuple[int, Message]]] = {}
        """Frames to come, by the request id of their first message: each request's messages keep their order."""
        self._kept_since = 0.0

    @property
    def is_stuck(self) -> bool:
        """Whether the other end has taken nothing for too long."""
        return bool(self._kept) and time.monotonic() - self._kept_since > LONGEST_BACKLOG_S

    def send(self, batch: Sequence[tuple[int, Message]]) -> None:
        """Send or keep messages of independent requests; from any thread, and never waits for the reader."""
        with self._lock:
            if self._must_keep(batch):
                for request_id, message in batch:
                    _merge(self._kept.setdefault(request_id, []), request_id, message)

    def send_together(self, batch: Sequence[tuple[int, Message]]) -> None:
        """Do as `send`, and see to it that new requests which belong together arrive in one frame."""
        with self._lock:
            if self._must_keep(batch):
                self._kept[batch[0][0]] = list(batch)

    def flush(self) -> None:
        """Send what was kept, as far as there is room."""
        with self._lock:
            for first in list(self._kept):
                if not self._try(self._kept[first]):
                    self._hub.watch_room(self._channel)
                    return
                del self._kept[first]
                self._kept_since = time.monotonic()

    def _must_keep(self, batch: Sequence[tuple[int, Message]]) -> bool:
        if self._kept:
            return True
        if self._try(batch):
            return False
        self._kept_since = time.monotonic()
        self._hub.watch_room(self._channel)
        return True

    def _try(self, batch: Sequence[tuple[int, Message]]) -> bool:
        try:
            return self._channel.send(messages.encode(batch))
        except ChannelGone:
            return True  # the hub reports it, and then its requests are ended


def _merge(kept: list[tuple[int, Message]], request_id: int, message: Message) -> None:
    last = kept[-1][1] if kept else None
    if isinstance(message, Delta) and isinstance(last, Delta):
        kept[-1] = request_id, last.followed_by(message)
    else:
        kept.append((request_id, message))
