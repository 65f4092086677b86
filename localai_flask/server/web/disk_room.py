"""How much of the disk large requests may take: half of it for those of one key, the rest for others'."""

from __future__ import annotations

from collections import Counter

from localai_flask.server.web.connection import Connection


class DiskRoom:
    """The room of one web worker, in bytes."""

    def __init__(self, most: int):
        self._most = most
        self._taken: Counter[str] = Counter()

    def take(self, conn: Connection, size: int) -> bool:
        """Note how much a request takes now; return False if that is more than there is, or than its sender's share."""
        self._taken[conn.sender] += size - conn.on_disk
        conn.on_disk = size
        if not self._taken[conn.sender]:
            del self._taken[conn.sender]  # there may be many keys
        share = self._most // 2 if conn.sender else self._most
        return self._taken.total() <= self._most and self._taken[conn.sender] <= share
